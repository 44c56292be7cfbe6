// Takes over a control port of the nest (wire/nest_attach.h): connects to its Unix socket and
// exchanges attach records until the nest's side is known to listen to this client alone.
// Hostile bytes: what the port's last client left in it.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "spore/result.h"
#include "wire/nest_attach.h"

namespace spore::nest {

using SteadyClock = std::chrono::steady_clock;

struct AttachOptions {
  SteadyClock::time_point deadline;
  // Connects anew when the nest has not answered for so long. None: the nest is booting, wait.
  std::optional<std::chrono::milliseconds> reconnect_after;
  int qemu_pidfd = -1;  // readable when QEMU has ended; -1: not watched
};

class Attachment {
 public:
  // kMachineEnded: there is no QEMU behind the socket (any more). kTimedOut: it never answered.
  static Result<Attachment> attach(const std::string& socket_path, const AttachOptions& options);

  // The nest starts an agent at the other end; the stream is then the agent's.
  Result<base::UniqueFd> go();
  // The nest ends its work and powers off.
  Result<void> power_off();

 private:
  Attachment(base::UniqueFd fd, const wire::AttachRecord& record)
      : fd_(std::move(fd)), record_(record) {}

  base::UniqueFd fd_;
  wire::AttachRecord record_;  // the one that the nest has answered
};

}  // namespace spore::nest
