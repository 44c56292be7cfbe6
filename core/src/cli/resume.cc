// `spore resume`: the machine of a spore goes on, with the processes that lived in it.
#include <fmt/format.h>

#include <csignal>
#include <memory>
#include <string>
#include <utility>

#include "cli/command.h"
#include "cli/process_io.h"
#include "cli/run_arguments.h"
#include "session/ended.h"

namespace spore::cli {
namespace {

struct ResumeOptions {
  std::string directory;
  std::string kernel;
  std::string timeout;
  std::string engine = "auto";
};

Result<int> resume(const ResumeOptions& options) {
  FollowOptions follow;
  if (!options.timeout.empty()) {
    SPORE_ASSIGN(follow.timeout, parse_duration(options.timeout, "--timeout"));
  }
  SignalForwarder signals;
  SPORE_ASSIGN(const auto session,
               open_session({.engine = options.engine, .progress = show_progress}));
  show_progress("loading the spore");
  SPORE_ASSIGN(const auto spore, session->load(options.directory, {.kernel = options.kernel}));
  const auto processes = spore->processes();
  if (processes.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("resuming {}: no process lived in it: start one with spore run --from "
                            "{} -- COMMAND",
                            options.directory, options.directory));
  }
  SPORE_ASSIGN(const auto machines,
               spore->fork({spore->loaded()->fork.value_or(ForkParameters{})}));
  Machine& machine = *machines.front();
  const auto process = machine.process(processes.front());
  signals.attach(machine, *process);
  const Followed followed = follow_process(machine, *process, follow);
  signals.detach();
  switch (followed.outcome) {
    case Followed::Outcome::kExited:
      return followed.exited.status();
    case Followed::Outcome::kOutputClosed:
      return 128 + SIGPIPE;
    case Followed::Outcome::kTimedOut:
      fmt::print(stderr, "spore: it did not end within --timeout {}: its machine was closed\n",
                 options.timeout);
      return kTimedOutStatus;
    case Followed::Outcome::kLost:
      break;
  }
  if (signals.killed()) {
    return kInterrupted;
  }
  return fail(ErrorCode::kMachineEnded,
              session::with_console(
                  "resuming " + options.directory + ": " + session::describe_end(followed.end),
                  followed.end.console_tail));
}

}  // namespace

void add_resume_command(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("resume", "Let the machine of a spore go on, and follow what runs in it");
  auto options = std::make_shared<ResumeOptions>();
  command->add_option("spore", options->directory, "The spore's directory")->required();
  command->add_option("-k,--kernel", options->kernel, "Refuse a spore of another kernel than this");
  command->add_option("--timeout", options->timeout,
                      "End it after this time, such as 30s or 5m, with status 124");
  add_engine_option(*command, options->engine);
  command->footer(
      "Follows the first process that lived at the capture, and answers its exit status\n"
      "(128 + N for signal N); 124 after --timeout, 125 when spore itself fails.");
  command->callback([options, &context] {
    std::signal(SIGPIPE, SIG_IGN);
    const auto status = resume(*options);
    context.status = status ? *status : report(status.error());
  });
}

}  // namespace spore::cli
