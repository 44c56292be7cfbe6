#include "cli/bench_guest.h"

#include "session/ended.h"

namespace spore::cli {
namespace {

constexpr Milliseconds kPatience{120'000};  // only a hang gets there
constexpr std::size_t kBootTries = 3;
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
Sampled<ProcessEvent> follow(const Session& session, Process& process, std::string_view word,
                             std::string& said) {
  for (;;) {
    auto event = process.next_event(kPatience);
    if (!event) {
      return fail(ErrorCode::kTimedOut,
                  fmt::format("running a process in a machine: it did nothing for {} s",
                              kPatience.count() / 1000));
    }
    if (const auto* lost = std::get_if<Lost>(&*event)) {
      if (is_doubtful_end(session.engine(), lost->end)) {
        return std::nullopt;
      }
      return fail(session::ended_error("running a process in a machine", lost->end));
    }
    if (const auto* output = std::get_if<Output>(&*event)) {
      said += output->data;
      if (word.empty() || !has_line(said, word)) {
        continue;
      }
    }
    return event;
  }
}

Error process_failed(const Exited& exited, const std::string& said) {
  return Error(ErrorCode::kInternal,
               fmt::format("running a process in a machine: it ended with status {}{}{}",
                           exited.status(), said.empty() ? "" : ": ", said));
}

Sampled<Captured> try_boot_and_capture(Session& session, const MachineConfig& config,
                                       const std::vector<std::string>& argv) {
  Captured captured;
  SPORE_ASSIGN(const auto machine, session.boot(config));
  captured.boot = machine->boot_timings();
  std::shared_ptr<Process> process;
  if (!argv.empty()) {
    auto started = machine->exec({.argv = argv});
    if (!started && is_lost(session, *machine)) {
      return std::nullopt;
    }
    SPORE_ASSIGN(process, std::move(started));
    captured.process = process->id();
    SPORE_ASSIGN(const auto said, await_line(session, *process, kReady));
    if (!said) {
      return std::nullopt;
    }
  }
  auto spore = machine->capture({});
  if (!spore && is_lost(session, *machine)) {
    return std::nullopt;
  }
  SPORE_ASSIGN(captured.spore, std::move(spore));
  return captured;
}

}  // namespace

bool is_lost(const Session& session, const Machine& machine) {
  const auto end = machine.ended();
  return end && is_doubtful_end(session.engine(), *end);
}

Sampled<Exited> run_in(const Session& session, Machine& machine, std::vector<std::string> argv) {
  auto process = machine.exec({.argv = std::move(argv)});
  if (!process) {
    if (is_lost(session, machine)) {
      return std::nullopt;
    }
    return fail(process.error());
  }
  std::string said;
  SPORE_ASSIGN(const auto event, follow(session, **process, {}, said));
  if (!event) {
    return std::nullopt;
  }
  const auto* exited = std::get_if<Exited>(&*event);
  if (exited == nullptr || exited->status() != 0) {
    return fail(process_failed(exited == nullptr ? Exited{} : *exited, said));
  }
  return *exited;
}

Sampled<std::string> await_line(const Session& session, Process& process, std::string_view word) {
  std::string said;
  SPORE_ASSIGN(const auto event, follow(session, process, word, said));
  if (!event) {
    return std::nullopt;
  }
  if (const auto* exited = std::get_if<Exited>(&*event)) {
    return fail(process_failed(*exited, said));
  }
  return said;
}

Result<std::unique_ptr<Machine>> fork_one(Spore& spore) {
  SPORE_ASSIGN(auto machines, spore.fork(1));
  return std::move(machines.front());
}

Result<Captured> boot_and_capture(Session& session, const MachineConfig& config,
                                  const std::vector<std::string>& argv) {
  for (std::size_t tries = 0; tries < kBootTries; ++tries) {
    SPORE_ASSIGN(auto captured, try_boot_and_capture(session, config, argv));
    if (captured) {
      return std::move(*captured);
    }
  }
  return fail(ErrorCode::kMachineEnded,
              "booting and capturing a machine: the emulator lost it every time; try again");
}

}  // namespace spore::cli
