// Session, Machine, Process, Spore: how tests drive machines. The same objects work whether the
// machines run in this process (KVM) or behind a stream (the nest).
//
//   auto session = spore::open_session({});
//   auto machine = (*session)->boot({.images = {"/path/root.squashfs"}});
//   auto process = (*machine)->exec({.argv = {"/usr/bin/psql"}});
//   auto spore = (*machine)->capture({});
//   auto children = (*spore)->fork(8);
//
// Threads: every object may be used from any thread; calls on one Process from several threads at
// once see each event once. Closing a Machine wakes everyone who waits on it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "spore/disk.h"
#include "spore/machine.h"
#include "spore/result.h"

namespace spore {

using Milliseconds = std::chrono::milliseconds;

// ---- processes in a guest
// -------------------------------------------------------------------------

struct ExecRequest {
  std::vector<std::string> argv{};  // argv[0] is looked up in the guest's PATH
  std::map<std::string, std::string>
      env{};  // the whole environment; PATH, HOME and TERM get defaults
  std::string workdir = "/";
  std::string user{};     // name or uid; empty: root
  bool terminal = false;  // a pty for stdin, stdout and stderr (all output is stdout)
  std::uint16_t rows = 24;
  std::uint16_t columns = 80;
  bool channel =
      false;  // descriptor 3: a stream socket to the host (its number in SPORE_CHANNEL_FD)
};

enum class OutputStream : std::uint8_t { kStdout = 1, kStderr = 2, kChannel = 3 };

// What a process can tell, in the order in which it happened.
struct Output {
  OutputStream stream = OutputStream::kStdout;
  std::string data;
};
struct AtFixturePoint {};  // it called spore_fixture_point() and waits to be captured or released
struct Exited {
  int code = 0;    // exit status, when signal is 0
  int signal = 0;  // the signal that ended it
  bool out_of_memory = false;
  // What a shell would say: code, or 128 + signal.
  [[nodiscard]] int status() const noexcept { return signal != 0 ? 128 + signal : code; }
};
// The machine ended, or was captured to be forked, before the process did.
struct Lost {
  MachineEnd end;
};
using ProcessEvent = std::variant<Output, AtFixturePoint, Exited, Lost>;

class Process {
 public:
  virtual ~Process() = default;
  [[nodiscard]] virtual std::uint32_t id() const noexcept = 0;

  // The next event, waiting at most `timeout` (for ever without one); nullopt when it is over.
  // Exited or Lost is the last event, and is given again to whoever asks again. The guest stops
  // producing output when 256 KiB of a stream wait here unread.
  virtual std::optional<ProcessEvent> next_event(std::optional<Milliseconds> timeout) = 0;

  // Writes to the process; waits while the guest does not read. kMachineEnded if it is gone.
  virtual Result<void> write_stdin(std::string_view data) = 0;
  virtual Result<void> close_stdin() = 0;
  virtual Result<void> write_channel(std::string_view data) = 0;
  virtual Result<void> close_channel() = 0;

  virtual Result<void> signal(int number) = 0;  // to the process and all that it started
  virtual Result<void> resize(std::uint16_t rows, std::uint16_t columns) = 0;
  // Lets a process that waits at its fixture point go on in this machine, as index 0 of 1.
  virtual Result<void> release_fixture_point() = 0;
};

// ---- machines and spores
// --------------------------------------------------------------------------

class Machine;

// A captured machine. Immutable; children keep what they need of it alive.
class Spore {
 public:
  virtual ~Spore() = default;
  // One machine per entry, all running, each with its generation work done before any user process
  // of it runs. A process that lived at the capture lives in every child (Machine::process).
  virtual Result<std::vector<std::unique_ptr<Machine>>> fork(
      const std::vector<ForkParameters>& children) = 0;
  // `count` children, indexes 0 to count - 1, each its own shard.
  Result<std::vector<std::unique_ptr<Machine>>> fork(std::uint32_t count);
  // What `used` becomes when it is put back: a machine as fork() makes it, for the price of what
  // was written in the old one. `used` is any machine of the session, best one that was forked
  // from this spore, or from one that was captured after it; it has ended then (kPutBack), even if
  // an Error is answered. One that cannot be put back (its kernel panicked) is replaced by another.
  virtual Result<std::unique_ptr<Machine>> reset(Machine& used, const ForkParameters& child) = 0;
  [[nodiscard]] virtual const Generation& generation() const noexcept = 0;
  [[nodiscard]] virtual const CaptureTimings& timings() const noexcept = 0;
  // Writes it to disk as the directory `path`, which must not exist; it appears whole or not at
  // all. If what it was captured on top of is on disk, only the difference is written.
  virtual Result<SavedSpore> save(const std::string& path, const SaveOptions& options = {}) = 0;
  // Where it was read from; nothing for one that was captured in this session.
  [[nodiscard]] virtual const std::optional<LoadedSpore>& loaded() const noexcept = 0;
  // Ids of the processes that lived at the capture (Machine::process of a child), ascending.
  [[nodiscard]] virtual std::vector<std::uint32_t> processes() const = 0;
};

struct CaptureOptions {
  // The machine goes on after the capture (its writes are private from then on); else it is closed.
  bool keep_running = false;
  Milliseconds timeout{60'000};  // for the guest to freeze its workload
};

class Machine {
 public:
  virtual ~Machine() = default;  // closes
  virtual Result<std::shared_ptr<Process>> exec(const ExecRequest& request) = 0;
  // A process by its id: one of this machine's, or one inherited from the machine that was
  // captured.
  [[nodiscard]] virtual std::shared_ptr<Process> process(std::uint32_t id) = 0;
  // Freezes the workload, captures RAM without copying it, saves vCPU and device state.
  virtual Result<std::shared_ptr<Spore>> capture(const CaptureOptions& options) = 0;
  [[nodiscard]] virtual const Generation& generation() const noexcept = 0;
  [[nodiscard]] virtual std::optional<MachineEnd> ended() const = 0;
  virtual Result<MachineStats> stats() = 0;
  [[nodiscard]] virtual std::string console_tail() = 0;
  [[nodiscard]] virtual const BootTimings& boot_timings() const noexcept = 0;
  [[nodiscard]] virtual const ForkTimings& fork_timings() const noexcept = 0;
  virtual void close() = 0;  // ends it at once; what it has not sent is lost
};

class Session {
 public:
  virtual ~Session() = default;  // closes all that is left of its machines
  // Boots and waits until the guest's agent answers (or `timeout`).
  virtual Result<std::unique_ptr<Machine>> boot(const MachineConfig& config,
                                                Milliseconds timeout = Milliseconds{120'000}) = 0;
  // A spore that was saved, here or elsewhere. kUnavailable names every reason for which this host
  // cannot let its machine go on; kCorrupt names what is not as it was written.
  virtual Result<std::shared_ptr<Spore>> load(const std::string& path,
                                              const LoadOptions& options = {}) = 0;
  // The engine in use: "kvm" or "nest".
  [[nodiscard]] virtual std::string_view engine() const noexcept = 0;
};

// ---- engines
// --------------------------------------------------------------------------------------

struct SessionOptions {
  std::string engine = "auto";  // auto, kvm, nest
  // Told what a slow step is doing ("starting the nest"), for a progress line. May be empty.
  std::function<void(std::string_view)> progress;
};

Result<std::unique_ptr<Session>> open_session(const SessionOptions& options);

struct EngineReport {
  std::string name;
  bool usable = false;
  std::string why;  // how it was found usable, or what is missing and what would mend it
};

// Probes every engine, in the order in which `auto` tries them.
std::vector<EngineReport> probe_engines();

}  // namespace spore
