#include "cli/bench_guest.h"

#include "session/ended.h"

namespace spore::cli {
namespace {

constexpr Milliseconds kPatience{120'000};  // only a hang gets there
constexpr std::string_view kReady = "ready";

bool has_line(std::string_view text, std::string_view line) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (end == text.npos) {
      return false;
    }
    if (text.substr(0, end) == line) {
      return true;
    }
    text.remove_prefix(end + 1);
  }
  return false;
}

// Follows a process until its end or until it has said `word`; what it said lies in `said`.
Result<ProcessEvent> follow(Process& process, std::string_view word, std::string& said) {
  for (;;) {
    auto event = process.next_event(kPatience);
    if (!event) {
      return fail(ErrorCode::kTimedOut,
                  fmt::format("running a process in a machine: it did nothing for {} s",
                              kPatience.count() / 1000));
    }
    if (const auto* lost = std::get_if<Lost>(&*event)) {
      return fail(session::ended_error("running a process in a machine", lost->end));
    }
    if (const auto* output = std::get_if<Output>(&*event)) {
      said += output->data;
      if (word.empty() || !has_line(said, word)) {
        continue;
      }
    }
    return std::move(*event);
  }
}

Error process_failed(const Exited& exited, const std::string& said) {
  return Error(ErrorCode::kInternal,
               fmt::format("running a process in a machine: it ended with status {}{}{}",
                           exited.status(), said.empty() ? "" : ": ", said));
}

}  // namespace

Result<void> run_in(Machine& machine, std::vector<std::string> argv) {
  SPORE_ASSIGN(const auto process, machine.exec({.argv = std::move(argv)}));
  std::string said;
  SPORE_ASSIGN(const ProcessEvent event, follow(*process, {}, said));
  const auto* exited = std::get_if<Exited>(&event);
  if (exited == nullptr || exited->status() != 0) {
    return fail(process_failed(exited == nullptr ? Exited{} : *exited, said));
  }
  return {};
}

Result<void> await_line(Process& process, std::string_view word) {
  std::string said;
  SPORE_ASSIGN(const ProcessEvent event, follow(process, word, said));
  if (const auto* exited = std::get_if<Exited>(&event)) {
    return fail(process_failed(*exited, said));
  }
  return {};
}

Result<std::unique_ptr<Machine>> fork_one(Spore& spore) {
  SPORE_ASSIGN(auto machines, spore.fork(1));
  return std::move(machines.front());
}

Result<Captured> boot_and_capture(Session& session, const MachineConfig& config,
                                  const std::vector<std::string>& argv) {
  Captured captured;
  SPORE_ASSIGN(const auto machine, session.boot(config));
  captured.boot = machine->boot_timings();
  if (!argv.empty()) {
    SPORE_ASSIGN(const auto process, machine->exec({.argv = argv}));
    captured.process = process->id();
    SPORE_TRY(await_line(*process, kReady));
  }
  SPORE_ASSIGN(captured.spore, machine->capture({}));
  return captured;
}

}  // namespace spore::cli
