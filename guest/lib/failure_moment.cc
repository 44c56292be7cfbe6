#include "failure_moment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include "spore_guest.h"
#include "stack_writer.h"

namespace spore::gtest {
namespace {

bool g_keep = false;
pid_t g_watched = 0;  // a death test forks, and is to die in peace

void write_pid() {
  std::array<char, 16> text{};
  char* end = std::to_chars(text.data(), text.data() + text.size() - 1, getpid()).ptr;
  *end++ = '\n';
  const int fd = open(kFailedPidFile, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd >= 0) {
    [[maybe_unused]] const auto written =
        write(fd, text.data(), static_cast<std::size_t>(end - text.data()));
    close(fd);
  }
}

// Calls only what a signal handler may.
void stop_here() {
  if (!g_keep || getpid() != g_watched) {
    return;
  }
  write_pid();
  if (spore_failure_point() == 1) {
    raise(SIGSTOP);
  }
}

// The signal comes again when its handler has returned, and ends the process as it would have.
void on_deadly_signal(int number, siginfo_t* /*info*/, void* context) {
  signal(number, SIG_DFL);
  if (getpid() == g_watched) {
    write_stack(context);
  }
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

void watch_for_failures(bool keep) {
  g_keep = keep;
  g_watched = getpid();
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // what a test printed is to be there when it crashes
  if (keep) {
    testing::UnitTest::GetInstance()->listeners().Append(new FailureListener);
  }
  handle_deadly_signals(on_deadly_signal);
}

}  // namespace spore::gtest
