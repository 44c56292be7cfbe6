#include "stack_writer.h"

#include <dlfcn.h>
#include <elf.h>
#include <execinfo.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace spore::gtest {
namespace {

constexpr std::size_t kStackSize = std::size_t{128} * 1024;
constexpr int kMostFrames = 64;
constexpr std::size_t kMostLine = 1024;

// One line in one write.
void write_frame(std::uintptr_t place) {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(place), &info) == 0 || info.dli_fname == nullptr) {
    return;
  }
  const auto* header = static_cast<const Elf64_Ehdr*>(info.dli_fbase);
  const bool is_moved = header->e_type != ET_EXEC;
  const std::uintptr_t offset =
      is_moved ? place - reinterpret_cast<std::uintptr_t>(info.dli_fbase) : place;
  constexpr std::string_view kTag = "spore-stack: ";
  constexpr std::string_view kPlus = "+0x";
  std::array<char, kMostLine> line{};
  const std::size_t length = std::strlen(info.dli_fname);
  if (length > line.size() - 64) {
    return;
  }
  char* at = std::copy(kTag.begin(), kTag.end(), line.data());
  at = std::copy_n(info.dli_fname, length, at);
  at = std::copy(kPlus.begin(), kPlus.end(), at);
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

}  // namespace

void handle_deadly_signals(SignalHandler handler) {
  std::array<void*, 1> frame{};
  backtrace(frame.data(), 1);  // the first call loads what it needs: not in a signal handler
  static std::array<std::byte, kStackSize> stack;
  stack_t alternate{};
  alternate.ss_sp = stack.data();
  alternate.ss_size = stack.size();
  sigaltstack(&alternate, nullptr);
  for (const int number : kDeadlySignals) {
    struct sigaction action {};
    if (sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) {
      action.sa_sigaction = handler;
      action.sa_flags = SA_ONSTACK | SA_SIGINFO;
      sigaction(number, &action, nullptr);  // a sanitizer's handlers stay: they tell more
    }
  }
}

void write_stack(const void* context) {
  std::array<void*, kMostFrames> frames{};
  const int count = backtrace(frames.data(), kMostFrames);
  const std::uintptr_t counter = program_counter(*static_cast<const ucontext_t*>(context));
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

}  // namespace spore::gtest
