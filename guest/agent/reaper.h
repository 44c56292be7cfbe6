// Reaper: every process below the agent, its own children or adopted orphans. The agent is PID 1 of
// its machine or a subreaper, so nothing that it started can escape from here.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>

#include "agent/poller.h"

namespace spore::agent {

class Reaper {
 public:
  using OnReaped = std::function<void(pid_t pid, int wait_status)>;

  // Blocks SIGCHLD in this process and, unless it is PID 1, makes it a subreaper.
  static Result<Reaper> create();

  void start(Poller& poller, OnReaped on_reaped);
  void stop(Poller& poller);
  // SIGTERM for all, at most `grace` of waiting, SIGKILL for who is left; returns when all are
  // gone.
  void end_all(std::chrono::milliseconds grace);

 private:
  explicit Reaper(base::UniqueFd signals) : signals_(std::move(signals)) {}
  static void signal_all(int number);
  // Reaps what ended. False when no child is left.
  static bool reap(const OnReaped& on_reaped);
  void drain_signals() const;

  base::UniqueFd signals_;
};

}  // namespace spore::agent
