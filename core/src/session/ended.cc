#include "session/ended.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace spore::session {
namespace {

constexpr std::size_t kConsoleLines = 20;
constexpr std::uint64_t kComfortableMemory = 128 * kMiB;

std::string_view last_lines(std::string_view text, std::size_t lines) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) {
    text.remove_suffix(1);
  }
  std::size_t start = text.size();
  while (lines > 0 && start > 0) {
    const std::size_t newline = text.rfind('\n', start - 1);
    if (newline == std::string_view::npos) {
      return text;
    }
    start = newline;
    --lines;
  }
  return lines > 0 ? text : text.substr(start + 1);
}

// A console is the guest's: nothing in it may steer the terminal that it is shown on.
std::string printable(std::string_view text) {
  std::string result;
  for (const char byte : text) {
    const auto value = static_cast<unsigned char>(byte);
    if (byte == '\n' || byte == '\t' || (value >= 0x20 && value != 0x7f)) {
      result.push_back(byte);
    }
  }
  return result;
}

}  // namespace

MachineEnd closed_end(std::string detail) {
  return {EndReason::kClosed, std::move(detail), {}};
}

MachineEnd put_back_end() {
  return {EndReason::kPutBack, "what ran in it is gone", {}};
}

MachineEnd engine_failed_end(std::string why) {
  return {EndReason::kEngineFailed, std::move(why), {}};
}

std::string describe_end(const MachineEnd& end) {
  const auto clause = [&end]() -> std::string_view {
    switch (end.reason) {
      case EndReason::kPoweredOff:
        return "the machine powered off";
      case EndReason::kPanicked:
        return "the guest kernel panicked";
      case EndReason::kReset:
        return "the guest reset itself";
      case EndReason::kClosed:
        return "the machine was closed";
      case EndReason::kEngineFailed:
        return "the machine could not go on";
      case EndReason::kPutBack:
        return "the machine was put back to a spore";
    }
    return "the machine ended";
  }();
  return end.detail.empty() ? std::string(clause)
                            : fmt::format("{} ({})", clause, printable(end.detail));
}

std::string with_console(std::string sentence, std::string_view console_tail) {
  const std::string lines = printable(last_lines(console_tail, kConsoleLines));
  if (lines.empty()) {
    return sentence + "; its console is empty";
  }
  return fmt::format("{}; the end of its console:\n{}", sentence, lines);
}

Error ended_error(std::string_view attempted, const MachineEnd& end) {
  return Error(ErrorCode::kMachineEnded, fmt::format("{}: {}", attempted, describe_end(end)));
}

std::string memory_advice(std::string_view console_tail, std::uint64_t memory_bytes) {
  constexpr std::array<std::string_view, 8> kSigns = {"Out of memory",
                                                      "out of memory",
                                                      "System is deadlocked on memory",
                                                      "write error",
                                                      "oom-killer",
                                                      "No space left on device",
                                                      "page allocation failure",
                                                      "Cannot allocate memory"};
  const bool said = std::any_of(kSigns.begin(), kSigns.end(), [&](std::string_view sign) {
    return console_tail.find(sign) != std::string_view::npos;
  });
  if (!said && memory_bytes >= kComfortableMemory) {
    return {};
  }
  return fmt::format("{} MiB of memory may be too small for it: give it more", memory_bytes / kMiB);
}

}  // namespace spore::session
