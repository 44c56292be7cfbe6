// `spore resume`: the machine of a spore goes on, with the processes that lived in it.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "cli/command.h"
#include "cli/json_output.h"
#include "cli/machines/launch.h"
#include "cli/machines/registry.h"
#include "cli/machines/verbs/description.h"
#include "cli/process_io.h"
#include "cli/run_arguments.h"
#include "session/ended.h"

namespace spore::cli {
namespace {

struct ResumeOptions {
  std::string directory;  // or the name of a suspended machine
  std::string name;       // of the machine that it becomes
  bool json = false;
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
  if (options.json) {
    follow.stdout_fd = STDERR_FILENO;
  }
  const Followed followed = follow_process(machine, *process, follow);
  signals.detach();
  if (followed.exited.out_of_memory) {
    fmt::print(stderr,
               "spore: it was killed: its machine ran out of memory ({} MiB): capture one that has "
               "more\n",
               spore->loaded()->memory_bytes / kMiB);
  }
  if (followed.outcome == Followed::Outcome::kTimedOut) {
    fmt::print(stderr, "spore: it did not end within --timeout {}: its machine was closed\n",
               options.timeout);
  }
  if (const auto status = status_of(followed, signals.killed())) {
    return *status;
  }
  return fail(ErrorCode::kMachineEnded,
              session::with_console(
                  "resuming " + options.directory + ": " + session::describe_end(followed.end),
                  followed.end.console_tail));
}

// A named machine goes on by itself: one that was suspended, or a new one from a spore.
Result<machines::Entry> resume_named(const ResumeOptions& options,
                                     const machines::Registry& registry) {
  if (options.name.empty()) {
    return machines::resume_machine(registry, options.directory, show_progress);
  }
  machines::CreateOrder order{options.name, options.engine, {}, {}};
  order.config.hostname = options.name;
  std::error_code error;
  order.spore = std::filesystem::absolute(options.directory, error).lexically_normal().string();
  return machines::create_machine(registry, order, show_progress);
}

// Whether it is the name of a machine, rather than a directory.
bool is_machine(const ResumeOptions& options, const machines::Registry& registry) {
  return options.name.empty() && options.directory.find('/') == std::string::npos &&
         registry.find(options.directory).has_value();
}

int run(const ResumeOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  const auto registry = machines::Registry::open();
  if (!registry) {
    return report(registry.error(), options.json);
  }
  if (options.name.empty() && !is_machine(options, *registry)) {
    const auto status = resume(options);
    if (!status) {
      return report(status.error(), options.json);
    }
    if (options.json) {
      print_json({{"status", *status}});
    }
    return *status;
  }
  end_on_signals();
  const auto entry = resume_named(options, *registry);
  if (!entry) {
    return report(entry.error(), options.json);
  }
  if (options.json) {
    print_json(machines::to_json(*entry));
  } else {
    fmt::print("{}\n", entry->name);
  }
  return 0;
}

}  // namespace

void add_resume_command(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("resume", "Let a suspended machine, or that of a spore, go on");
  auto options = std::make_shared<ResumeOptions>();
  command
      ->add_option("spore", options->directory,
                   "A suspended machine's name, or a spore's directory")
      ->required();
  command->add_option("--name", options->name,
                      "Of a spore: it becomes a machine of this name, as `spore create` makes one");
  command->add_flag("--json", options->json,
                    "Print the named machine, or the status of the process, as a JSON object; "
                    "the process's output goes to standard error");
  command->add_option("-k,--kernel", options->kernel, "Refuse a spore of another kernel than this");
  command->add_option("--timeout", options->timeout,
                      "End it after this time, such as 30s or 5m, with status 124");
  add_engine_option(*command, options->engine);
  command->footer(
      "A named machine goes on by itself. Without a name, this follows the first process that "
      "lived at\n"
      "the capture, and answers its exit status (128 + N for signal N); 124 after --timeout, 125 "
      "when spore itself fails.");
  command->callback([options, &context] { context.status = run(*options); });
}

}  // namespace spore::cli
