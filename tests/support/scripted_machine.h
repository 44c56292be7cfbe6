// A machine that runs nothing: its processes, its console and its end are what a test says.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "spore/session.h"

namespace spore::testing {

// Tells the events that the test adds; echoes its input when `echo` is set.
class ScriptedProcess final : public Process {
 public:
  [[nodiscard]] std::uint32_t id() const noexcept override { return 1; }
  std::optional<ProcessEvent> next_event(std::optional<Milliseconds> /*timeout*/) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !events_.empty(); });
    ProcessEvent event = events_.front();
    if (!std::holds_alternative<Exited>(event) && !std::holds_alternative<Lost>(event)) {
      events_.pop_front();
    }
    return event;
  }
  Result<void> write_stdin(std::string_view data) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !stuck_ || over_; });
    input_ += data;
    if (echo) {
      events_.emplace_back(Output{OutputStream::kStdout, std::string(data)});
    }
    changed_.notify_all();
    return {};
  }
  Result<void> close_stdin() override {
    const std::lock_guard lock(mutex_);
    input_closed_ = true;
    if (exit_at_end_of_input) {
      add_last(Exited{});
    }
    changed_.notify_all();
    return {};
  }
  Result<void> write_channel(std::string_view /*data*/) override { return {}; }
  Result<void> close_channel() override { return {}; }
  Result<void> signal(int number) override {
    const std::lock_guard lock(mutex_);
    signals_.push_back(number);
    if (number == 9) {
      add_last(Exited{0, 9, false});
    }
    changed_.notify_all();
    return {};
  }
  Result<void> resize(std::uint16_t rows, std::uint16_t columns) override {
    const std::lock_guard lock(mutex_);
    sizes_.emplace_back(rows, columns);
    changed_.notify_all();
    return {};
  }
  Result<void> release_fixture_point() override {
    const std::lock_guard lock(mutex_);
    ++released_;
    changed_.notify_all();
    return {};
  }

  void tell(ProcessEvent event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    changed_.notify_all();
  }
  void end(ProcessEvent event) {
    const std::lock_guard lock(mutex_);
    add_last(std::move(event));
    changed_.notify_all();
  }
  void stop_reading(bool stuck) {
    const std::lock_guard lock(mutex_);
    stuck_ = stuck;
    changed_.notify_all();
  }
  // Waits until `seen` is true of this process; false after a while.
  bool wait_until(const std::function<bool(const ScriptedProcess&)>& seen) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return seen(*this); });
  }

  bool echo = false;
  bool exit_at_end_of_input = false;

  // For wait_until().
  std::string input_;
  std::vector<int> signals_;
  std::vector<std::pair<int, int>> sizes_;
  bool input_closed_ = false;
  int released_ = 0;

 private:
  void add_last(ProcessEvent event) {
    if (!over_) {
      events_.push_back(std::move(event));
      over_ = true;
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<ProcessEvent> events_;
  bool over_ = false;
  bool stuck_ = false;
};

class ScriptedMachine final : public Machine {
 public:
  Result<std::shared_ptr<Process>> exec(const ExecRequest& request) override {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    SPORE_ASSIGN(auto process, on_exec(request));
    processes_.push_back(process);
    return process;
  }
  [[nodiscard]] std::shared_ptr<Process> process(std::uint32_t /*id*/) override { return nullptr; }
  Result<std::shared_ptr<Spore>> capture(const CaptureOptions& options) override {
    return on_capture(options);
  }
  [[nodiscard]] const Generation& generation() const noexcept override { return generation_; }
  [[nodiscard]] std::optional<MachineEnd> ended() const override {
    const std::lock_guard lock(mutex_);
    return end_;
  }
  Result<MachineStats> stats() override { return MachineStats{}; }
  [[nodiscard]] std::string console_tail() override {
    const std::lock_guard lock(mutex_);
    return console_;
  }
  [[nodiscard]] const BootTimings& boot_timings() const noexcept override { return boot_; }
  [[nodiscard]] const ForkTimings& fork_timings() const noexcept override { return fork_; }
  void close() override { end(MachineEnd{}); }

  void end(const MachineEnd& end) {
    const std::lock_guard lock(mutex_);
    end_ = end_.value_or(end);
    for (const auto& process : processes_) {
      process->end(Lost{*end_});
    }
  }
  void say(std::string_view text) {
    const std::lock_guard lock(mutex_);
    console_ += text;
  }
  [[nodiscard]] std::vector<ExecRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

  std::function<Result<std::shared_ptr<ScriptedProcess>>(const ExecRequest&)> on_exec =
      [](const ExecRequest&) { return std::make_shared<ScriptedProcess>(); };
  std::function<Result<std::shared_ptr<Spore>>(const CaptureOptions&)> on_capture =
      [](const CaptureOptions&) {
        return fail(ErrorCode::kUnavailable, "a scripted machine is not captured");
      };

 private:
  mutable std::mutex mutex_;
  std::optional<MachineEnd> end_;
  std::string console_;
  std::vector<ExecRequest> requests_;
  std::vector<std::shared_ptr<ScriptedProcess>> processes_;
  Generation generation_;
  BootTimings boot_;
  ForkTimings fork_;
};

}  // namespace spore::testing
