// `spore run --capture`: when to capture the machine of a command that runs, and doing it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "cli/process_io.h"
#include "spore/session.h"

namespace spore::cli {

// What starts a capture.
struct CaptureTrigger {
  enum class Kind { kExit, kSignal, kFixture, kAfter, kLine, kPort };
  Kind kind = Kind::kExit;
  int signal = 0;          // kSignal: SIGUSR1 or SIGUSR2 of this program
  Milliseconds after{0};   // kAfter
  std::string line;        // kLine: a part of a line of the command's output
  std::uint16_t port = 0;  // kPort: of TCP
};

// exit, usr1, usr2, fixture, after:TIME, line:TEXT, port:NUMBER.
Result<CaptureTrigger> parse_trigger(std::string_view word);

struct CaptureRequest {
  std::string directory;
  CaptureTrigger trigger;
  Milliseconds quiesce{0};  // between the trigger and the capture
  bool keep_running = false;
  SaveOptions save;
};

// Captures the machine of a followed process once its trigger comes, and saves the spore.
// Threads: the follower's calls on_…(); a thread of its own captures, since the follower has to
// read what the guest still sends while it freezes.
class RunCapture final : public ProcessWatcher {
 public:
  RunCapture(Machine& machine, Process& process, CaptureRequest request);
  ~RunCapture() override;

  void on_output(std::string_view bytes) override;
  bool on_fixture_point() override;
  void on_signal();
  // The process is over: captures now, if that is the trigger. Waits for a capture that is under
  // way. Nothing: the trigger did not come.
  std::optional<Result<SavedSpore>> finish(bool exited);

 private:
  void run();
  void pull();
  [[nodiscard]] Result<bool> port_is_open();
  Result<SavedSpore> capture();

  Machine& machine_;
  Process& process_;
  const CaptureRequest request_;
  std::string line_;  // of output so far; the follower's alone
  std::mutex mutex_;
  std::condition_variable changed_;
  bool pulled_ = false;
  bool over_ = false;
  std::optional<Result<SavedSpore>> outcome_;
  std::thread thread_;
};

}  // namespace spore::cli
