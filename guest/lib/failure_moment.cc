#include "failure_moment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdio>

#include "spore_guest.h"

namespace spore::gtest {
namespace {

constexpr std::array kDeadly = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
constexpr std::size_t kStackSize = std::size_t{128} * 1024;

pid_t g_watched = 0;  // a death test forks, and is to die in peace

void write_pid() {
  std::array<char, 16> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size() - 1, getpid()).ptr;
  const int fd = open(kFailedPidFile, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd >= 0) {
    [[maybe_unused]] const auto written =
        write(fd, text.data(), static_cast<std::size_t>(end - text.data()));
    close(fd);
  }
}

// Calls only what a signal handler may.
void stop_here() {
  if (getpid() != g_watched) {
    return;
  }
  write_pid();
  if (spore_failure_point() == 1) {
    raise(SIGSTOP);
  }
}

// The signal comes again when its handler has returned, and ends the process as it would have.
void on_deadly_signal(int number) {
  signal(number, SIG_DFL);
  stop_here();
  raise(number);
}

class FailureListener : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo& /*test*/) override { failed_ = false; }
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.failed() && !failed_) {
      failed_ = true;
      std::fflush(nullptr);
      stop_here();
    }
  }
  bool failed_ = false;
};

}  // namespace

void watch_for_failures() {
  g_watched = getpid();
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // what a test printed is to be there when it crashes
  testing::UnitTest::GetInstance()->listeners().Append(new FailureListener);
  static std::array<std::byte, kStackSize> stack;
  stack_t alternate{};
  alternate.ss_sp = stack.data();
  alternate.ss_size = stack.size();
  sigaltstack(&alternate, nullptr);
  for (const int number : kDeadly) {
    struct sigaction action {};
    if (sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) {
      action.sa_handler = on_deadly_signal;
      action.sa_flags = SA_ONSTACK;
      sigaction(number, &action, nullptr);  // a sanitizer's handlers stay: they tell more
    }
  }
}

}  // namespace spore::gtest
