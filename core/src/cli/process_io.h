// A guest's process and this program's terminal, streams and signals: everything goes through until
// the process ends.
#pragma once

#include <signal.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>

#include "base/unique_fd.h"
#include "spore/session.h"

namespace spore::cli {

// Takes this program's signals over, from the first slow step on. Until a process is attached, one
// that asks to end ends this program; afterwards it goes to the process, and a second SIGINT closes
// the machine. Made before any other thread, so that all of them leave the signals to this one.
class SignalForwarder {
 public:
  SignalForwarder();
  ~SignalForwarder();
  SignalForwarder(const SignalForwarder&) = delete;
  SignalForwarder& operator=(const SignalForwarder&) = delete;

  // Both must live until detach() or the end of this object.
  void attach(Machine& machine, Process& process);
  // For a process that a second SIGINT ends by `give_up`.
  void attach(Process& process, std::function<void()> give_up);
  void detach();
  [[nodiscard]] bool killed() const noexcept { return killed_; }
  // While a process is attached, `number` is for `taken` alone.
  void take(int number, std::function<void()> taken);

 private:
  void run();
  void forward(int number);

  sigset_t signals_{};
  sigset_t before_{};
  base::UniqueFd signal_fd_;
  base::UniqueFd stop_;
  std::mutex mutex_;
  Process* process_ = nullptr;
  std::map<int, std::function<void()>> taken_;
  std::function<void()> give_up_;
  int interrupts_ = 0;
  std::atomic<bool> killed_ = false;
  std::thread thread_;
};

// The terminal behind standard input, raw while this lives.
class RawTerminal {
 public:
  explicit RawTerminal(bool wanted);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  struct Saved;
  std::unique_ptr<Saved> saved_;
};

// Copies standard input to the process until either ends, or this goes.
class InputPump {
 public:
  explicit InputPump(Process& process);
  ~InputPump();
  InputPump(const InputPump&) = delete;
  InputPump& operator=(const InputPump&) = delete;

 private:
  void run();

  Process& process_;
  const base::UniqueFd stop_;
  std::thread thread_;
};

// Writes all of `bytes`, waiting where a descriptor does not block; false: nobody reads any more.
bool write_all(int fd, std::string_view bytes);

struct TerminalSize {
  std::uint16_t rows = 24;
  std::uint16_t columns = 80;
};
std::optional<TerminalSize> terminal_size();

struct Followed {
  enum class Outcome { kExited, kLost, kTimedOut, kOutputClosed };
  Outcome outcome = Outcome::kExited;
  Exited exited;
  MachineEnd end;
};

// What a process tells while it is followed, before it is passed on.
class ProcessWatcher {
 public:
  virtual ~ProcessWatcher() = default;
  virtual void on_output(std::string_view bytes) = 0;
  // It waits at its fixture point. False: it is to be released.
  virtual bool on_fixture_point() = 0;
};

struct FollowOptions {
  std::optional<Milliseconds> timeout{};
  ProcessWatcher* watcher = nullptr;
  int stdout_fd = 1;  // where the process's standard output goes
};

// Copies standard input to the process and its output to standard output and error, until it is
// over, or the timeout passes. Closes the machine in every case but kExited.
Followed follow_process(Machine& machine, Process& process, const FollowOptions& options);

// The same for a process whose machine goes on: `give_up` ends the process, and wakes who writes to
// it. Without `input` its standard input is closed at once.
Followed follow_process(Process& process, bool input, const std::function<void()>& give_up);

// The exit status that this leaves, `killed` by a second SIGINT or not; none: the machine was lost,
// which is to be told.
std::optional<int> status_of(const Followed& followed, bool killed);

// The exit status of a command that could not be started.
inline constexpr int kNotExecutableStatus = 126;
inline constexpr int kNotFoundStatus = 127;
int status_for_start(const Error& error);

}  // namespace spore::cli
