#include "guest_command.h"

#include <fmt/format.h>

#include <cstring>

namespace spore::gtest_runner {
namespace {

constexpr std::size_t kMaxOutput = std::size_t{256} * 1024 * 1024;

std::optional<Milliseconds> time_left(const std::chrono::steady_clock::time_point start,
                                      std::optional<Milliseconds> timeout) {
  if (!timeout) {
    return std::nullopt;
  }
  const auto passed =
      std::chrono::duration_cast<Milliseconds>(std::chrono::steady_clock::now() - start);
  return std::max(Milliseconds{0}, *timeout - passed);
}

}  // namespace

std::string describe(const Exited& exit) {
  if (exit.out_of_memory) {
    return "was killed because the guest ran out of memory (--memory gives it more)";
  }
  if (exit.signal != 0) {
    return fmt::format("was killed by signal {} ({})", exit.signal, strsignal(exit.signal));
  }
  return fmt::format("exited with status {}", exit.code);
}

Result<CommandResult> run_command(Machine& machine, const ExecRequest& request,
                                  std::optional<Milliseconds> timeout, std::string_view name) {
  const auto start = std::chrono::steady_clock::now();
  auto started = machine.exec(request);
  if (!started) {
    return fail(started.error().with_context(fmt::format("running {}", name)));
  }
  Process& process = **started;
  CommandResult result;
  for (;;) {
    const auto event = process.next_event(time_left(start, timeout));
    if (!event) {
      return fail(ErrorCode::kTimedOut,
                  fmt::format("running {}: it did not end within the {} s of --timeout", name,
                              static_cast<double>(timeout->count()) / 1000));
    }
    if (const auto* output = std::get_if<Output>(&*event)) {
      std::string& text = output->stream == OutputStream::kStderr ? result.errors : result.out;
      if (text.size() + output->data.size() > kMaxOutput) {
        return fail(
            ErrorCode::kResourceExhausted,
            fmt::format("running {}: it printed more than {} MiB", name, kMaxOutput / kMiB));
      }
      text += output->data;
    } else if (const auto* exited = std::get_if<Exited>(&*event)) {
      result.exit = *exited;
      return result;
    } else if (const auto* lost = std::get_if<Lost>(&*event)) {
      return fail(ErrorCode::kMachineEnded,
                  fmt::format("running {}: the machine was lost: {} ({}){}{}", name,
                              to_string(lost->end.reason), lost->end.detail,
                              lost->end.console_tail.empty() ? "" : "\n", lost->end.console_tail));
    } else if (auto released = process.release_fixture_point(); !released) {
      return fail(released.error());
    }
  }
}

}  // namespace spore::gtest_runner
