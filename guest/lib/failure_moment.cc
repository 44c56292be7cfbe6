#include "failure_moment.h"

#include <dlfcn.h>
#include <elf.h>
#include <execinfo.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "spore_guest.h"

namespace spore::gtest {
namespace {

constexpr std::array kDeadly = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
constexpr std::size_t kStackSize = std::size_t{128} * 1024;

constexpr int kMostFrames = 64;

bool g_keep = false;
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

// "spore-stack: /path/of/module+0x1234" in one write.
void write_frame(std::uintptr_t place) {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(place), &info) == 0 || info.dli_fname == nullptr) {
    return;
  }
  const auto* header = static_cast<const Elf64_Ehdr*>(info.dli_fbase);
  const bool is_moved = header->e_type != ET_EXEC;
  const std::uintptr_t offset =
      is_moved ? place - reinterpret_cast<std::uintptr_t>(info.dli_fbase) : place;
  std::array<char, 1024> line{};
  constexpr std::string_view kTag = "spore-stack: ";
  const std::size_t length = std::strlen(info.dli_fname);
  if (length > line.size() - 64) {
    return;
  }
  char* at = std::copy(kTag.begin(), kTag.end(), line.data());
  at = std::copy_n(info.dli_fname, length, at);
  at = std::copy_n("+0x", 3, at);
  at = std::to_chars(at, line.data() + line.size() - 1, offset, 16).ptr;
  *at++ = '\n';
  [[maybe_unused]] const auto written =
      write(STDERR_FILENO, line.data(), static_cast<std::size_t>(at - line.data()));
}

std::uintptr_t program_counter(const ucontext_t& context) {
#if defined(__x86_64__)
  return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RIP]);
#else
  return context.uc_mcontext.pc;
#endif
}

// From the instruction that the signal came to: what is within it is this handler.
void write_stack(const ucontext_t& context) {
  std::array<void*, kMostFrames> frames{};
  const int count = backtrace(frames.data(), kMostFrames);
  const std::uintptr_t counter = program_counter(context);
  bool found = false;
  for (int i = 0; i < count; ++i) {
    const auto address = reinterpret_cast<std::uintptr_t>(frames[static_cast<std::size_t>(i)]);
    if (found) {
      write_frame(address - 1);  // a return address: the call is before it
    } else if (address == counter) {
      found = true;
      write_frame(address);
    }
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
    write_stack(*static_cast<const ucontext_t*>(context));
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
  std::array<void*, 1> frame{};
  backtrace(frame.data(), 1);  // the first call loads what it needs: not in a signal handler
  static std::array<std::byte, kStackSize> stack;
  stack_t alternate{};
  alternate.ss_sp = stack.data();
  alternate.ss_size = stack.size();
  sigaltstack(&alternate, nullptr);
  for (const int number : kDeadly) {
    struct sigaction action {};
    if (sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) {
      action.sa_sigaction = on_deadly_signal;
      action.sa_flags = SA_ONSTACK | SA_SIGINFO;
      sigaction(number, &action, nullptr);  // a sanitizer's handlers stay: they tell more
    }
  }
}

}  // namespace spore::gtest
