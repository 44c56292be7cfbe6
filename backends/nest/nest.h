// The nest: one emulated KVM host per user, shared by all clients of this machine.
//
// Life: the first client starts it (others wait for that one), it powers itself off when nobody was
// connected for the idle time, `stop` ends it. Whether it lives is told by a lock that QEMU holds,
// never by a pid in a file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "nest/runtime_dir.h"
#include "spore/result.h"

namespace spore::nest {

using Progress = std::function<void(std::string_view)>;

// How many clients can be connected at once.
inline constexpr unsigned kClientPorts = 16;

struct NestStatus {
  bool running = false;
  std::string runtime_dir;
  // Of a running nest:
  int pid = -1;
  std::int64_t started_at = 0;  // seconds since the epoch
  std::string qemu;             // path
  std::string qemu_version;
  std::string kernel_release;
  std::uint64_t memory_bytes = 0;    // its RAM
  std::uint64_t resident_bytes = 0;  // what QEMU takes of this host's memory now
  std::uint64_t idle_seconds = 0;
  unsigned clients = 0;
};

// A control port of the running nest, and the agent behind it.
struct Connection {
  base::UniqueFd stream;  // the agent protocol; its first frame is the agent's kHello
  FileLock port;          // held as long as the stream
};

// Starts the nest unless it runs. Returns whether this call started it.
Result<bool> start(const Progress& progress);

// Starts the nest if needed and takes a control port of it.
Result<Connection> connect(const Progress& progress);

// Ends the nest: in order, within bounds, or else by force. Returns whether there was one.
Result<bool> stop();

Result<NestStatus> status();

// Whether a nest could be started here: QEMU, a kernel, the modules. The text describes them.
Result<std::string> probe();

}  // namespace spore::nest
