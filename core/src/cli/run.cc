// `spore run`: one command in a throw-away machine.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "cli/json_output.h"
#include "cli/process_io.h"
#include "cli/root_images.h"
#include "cli/run_arguments.h"
#include "cli/run_capture.h"
#include "session/ended.h"
#include "spore/image.h"
#include "wire/machine_json.h"

namespace spore::cli {
namespace {

namespace fs = std::filesystem;

struct RunOptions {
  std::string memory = "512M";
  std::uint32_t cpus = 1;
  std::string kernel;
  std::vector<std::string> roots;
  std::vector<std::string> mounts;
  CommandWords command;
  std::string timeout;
  std::string console_log;
  std::string engine = "auto";
  std::string hostname = "spore";
  std::string from;  // a spore to go on from, in place of a boot
  std::string capture;
  std::string capture_on = "exit";
  std::string quiesce;
  bool continue_after_capture = false;
  bool flat = true;
  bool json = false;
};

// What the words of the command line mean.
struct RunPlan {
  MachineConfig config;
  std::optional<Milliseconds> timeout;
  std::optional<CaptureRequest> capture;
  ExecRequest request;
};

// An Error, and what this program answers for it.
struct Failure {
  Error error;
  int status = kOwnError;
};
template <typename T>
using Outcome = tl::expected<T, Failure>;

tl::unexpected<Failure> give_up(Error error, int status = kOwnError) {
  return tl::unexpected<Failure>(Failure{std::move(error), status});
}

// The stack of images: the roots (or a small userland with the program), the mounts on top.
Outcome<std::vector<std::string>> build_images(RunOptions& options) {
  std::vector<std::string> images;
  if (options.roots.empty()) {
    std::string& program = options.command.argv.front();
    if (program.find('/') != std::string::npos) {
      program = fs::absolute(program).lexically_normal().string();
    }
    auto image = build_image({.programs = {program}, .base_system = true}, show_progress);
    if (!image) {
      const bool missing = image.error().code() == ErrorCode::kNotFound;
      return give_up(image.error(), missing ? kNotFoundStatus : kOwnError);
    }
    images.push_back(std::move(image->path));
  }
  if (const auto added = add_root_images(options.roots, options.mounts, images); !added) {
    return give_up(added.error());
  }
  return images;
}

Result<std::ofstream> open_console_log(const std::string& path) {
  std::ofstream log;
  if (!path.empty()) {
    log.open(path, std::ios::trunc);
    if (!log) {
      return fail(Error::from_errno(errno, "writing the console log " + path));
    }
  }
  return log;
}

void say(std::string_view text) {
  fmt::print(stderr, "spore: {}\n", text);
}

int tell_end(const Followed& followed, const SignalForwarder& signals, std::uint64_t memory,
             const RunOptions& options, const std::string& console) {
  if (followed.exited.out_of_memory) {
    say(session::with_console(
        fmt::format("the command was killed: its machine ran out of memory ({} MiB): give it more "
                    "with --memory",
                    memory / kMiB),
        console));
  }
  if (followed.outcome == Followed::Outcome::kTimedOut) {
    say(session::with_console(
        fmt::format("the command did not end within --timeout {}: its machine was closed",
                    options.timeout),
        followed.end.console_tail));
  }
  if (const auto status = status_of(followed, signals.killed())) {
    return *status;
  }
  std::string sentence = "running the command: " + session::describe_end(followed.end);
  const std::string advice = session::memory_advice(followed.end.console_tail, memory);
  if (followed.end.reason != EndReason::kPoweredOff && !advice.empty()) {
    sentence += ": " + advice + " with --memory";
  }
  say(session::with_console(std::move(sentence), followed.end.console_tail));
  return kOwnError;
}

Result<RunPlan> make_plan(const RunOptions& options) {
  RunPlan plan;
  SPORE_ASSIGN(plan.config.memory_bytes, parse_memory(options.memory));
  plan.config.cpus = options.cpus;
  plan.config.kernel = options.kernel;
  plan.config.hostname = options.hostname;
  if (!options.timeout.empty()) {
    SPORE_ASSIGN(plan.timeout, parse_duration(options.timeout, "--timeout"));
  }
  if (!options.capture.empty()) {
    CaptureRequest& capture = plan.capture.emplace();
    capture.directory = options.capture;
    SPORE_ASSIGN(capture.trigger, parse_trigger(options.capture_on));
    if (!options.quiesce.empty()) {
      SPORE_ASSIGN(capture.quiesce, parse_duration(options.quiesce, "--quiesce"));
    }
    capture.keep_running = options.continue_after_capture;
    capture.save.flat = options.flat;
    std::error_code error;
    if (fs::exists(options.capture, error)) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("reading --capture {}: it is there already: remove it, or choose "
                              "another name",
                              options.capture));
    }
  }
  SPORE_ASSIGN(plan.request, exec_request(options.command));
  return plan;
}

Outcome<std::unique_ptr<Machine>> make_machine(Session& session, RunOptions& options,
                                               RunPlan& plan) {
  if (!options.from.empty()) {
    show_progress("loading the spore");
    const auto spore = session.load(options.from, {.kernel = options.kernel});
    if (!spore) {
      return give_up(spore.error());
    }
    plan.config.memory_bytes = (*spore)->loaded()->memory_bytes;
    auto machines = (*spore)->fork({(*spore)->loaded()->fork.value_or(ForkParameters{})});
    if (!machines) {
      return give_up(machines.error());
    }
    return std::move(machines->front());
  }
  show_progress("booting a machine");
  auto machine = session.boot(plan.config);
  if (!machine) {
    return give_up(machine.error());
  }
  return std::move(*machine);
}

// How a command ended, and what was captured on the way.
struct Ended {
  Followed followed;
  std::optional<Result<SavedSpore>> captured;
};

Ended follow_and_capture(Machine& machine, Process& process, const RunPlan& plan,
                         const RunOptions& options, SignalForwarder& signals) {
  std::optional<RunCapture> capture;
  if (plan.capture) {
    capture.emplace(machine, process, *plan.capture);
    if (plan.capture->trigger.signal != 0) {
      signals.take(plan.capture->trigger.signal, [&capture] { capture->on_signal(); });
    }
  }
  const RawTerminal raw(options.command.terminal);
  signals.attach(machine, process);
  Ended ended;
  ended.followed = follow_process(machine, process,
                                  {.timeout = plan.timeout,
                                   .watcher = capture ? &*capture : nullptr,
                                   .stdout_fd = options.json ? STDERR_FILENO : STDOUT_FILENO});
  signals.detach();
  if (capture) {
    ended.captured = capture->finish(ended.followed.outcome == Followed::Outcome::kExited);
  }
  return ended;
}

void tell_capture(const SavedSpore& saved) {
  fmt::print(stderr, "spore: captured {} ({:.1f} MiB of RAM in {:.1f} MiB, id {})\n", saved.path,
             static_cast<double>(saved.content_bytes) / kMiB,
             static_cast<double>(saved.file_bytes) / kMiB, saved.id.substr(0, 12));
}

// A command that was captured, and was not to go on, is over as it was asked to be: 0.
int conclude(const Ended& ended, const RunPlan& plan, const RunOptions& options,
             const SignalForwarder& signals, const std::string& console) {
  const bool saved = ended.captured && ended.captured->has_value();
  const bool ended_by_capture =
      saved && ended.followed.outcome == Followed::Outcome::kLost && !plan.capture->keep_running;
  const bool ended_by_failure =
      ended.captured && !saved && ended.followed.outcome == Followed::Outcome::kLost;
  int status = ended_by_capture || ended_by_failure
                   ? 0
                   : tell_end(ended.followed, signals, plan.config.memory_bytes, options, console);
  if (plan.capture && !ended.captured) {
    say("the command was over before its capture was due: nothing was captured");
    status = status == 0 ? kOwnError : status;
  } else if (ended.captured && !saved) {
    status = report(ended.captured->error());
  }
  if (options.json) {
    nlohmann::json document = {{"status", status}};
    if (saved) {
      document["spore"] = **ended.captured;
    }
    print_json(document);
  } else if (saved) {
    tell_capture(**ended.captured);
  }
  return status;
}

Outcome<int> run_in_machine(RunOptions& options) {
  auto plan = make_plan(options);
  if (!plan) {
    return give_up(plan.error());
  }
  auto log = open_console_log(options.console_log);
  if (!log) {
    return give_up(log.error());
  }
  SignalForwarder signals;
  if (options.from.empty()) {
    auto images = build_images(options);
    if (!images) {
      return tl::unexpected<Failure>(images.error());
    }
    plan->config.images = std::move(*images);
    plan->request.argv = options.command.argv;
  }
  const auto session = open_session({.engine = options.engine, .progress = show_progress});
  if (!session) {
    return give_up(session.error());
  }
  const auto machine = make_machine(**session, options, *plan);
  if (!machine) {
    *log << machine.error().error.message() << '\n';
    return tl::unexpected<Failure>(machine.error());
  }
  const auto process = (*machine)->exec(plan->request);
  if (!process) {
    *log << (*machine)->console_tail();
    return give_up(process.error(), status_for_start(process.error()));
  }
  const Ended ended = follow_and_capture(**machine, **process, *plan, options, signals);
  const std::string console =
      ended.followed.outcome == Followed::Outcome::kExited && !ended.captured
          ? (*machine)->console_tail()
          : ended.followed.end.console_tail;
  *log << console;
  return conclude(ended, *plan, options, signals, console);
}

int run(RunOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  const auto status = run_in_machine(options);
  if (status) {
    return *status;
  }
  const int own = report(status.error().error, options.json);
  return status.error().status == kOwnError ? own : status.error().status;
}

}  // namespace

void add_run_command(CLI::App& app, Context& context) {
  CLI::App* run_command = app.add_subcommand("run", "Run one command in a throw-away machine");
  auto options = std::make_shared<RunOptions>();
  const auto list = [run_command](const char* name, std::vector<std::string>& values,
                                  const char* text) {
    run_command->add_option(name, values, text)->allow_extra_args(false);
  };
  run_command->add_option("-m,--memory", options->memory, "The machine's RAM (default 512M)");
  run_command->add_option("-c,--cpus", options->cpus, "Its CPUs, 1 to 8")->check(CLI::Range(1, 8));
  run_command->add_option("-k,--kernel", options->kernel,
                          "A bzImage or vmlinux (default: the newest in /boot)");
  list("--root", options->roots,
       "A directory or an image to be its root; several are stacked, the lowest first (default: "
       "a small userland and the command with its libraries)");
  list("--mount", options->mounts,
       "DIR or DIR:GUESTPATH, a copy of a directory; writes stay in the machine");
  add_command_options(*run_command, options->command);
  run_command->add_option("--timeout", options->timeout,
                          "End it after this time, such as 30s or 5m, with status 124");
  run_command->add_option("--console-log", options->console_log,
                          "A file for the end of the machine's console");
  add_engine_option(*run_command, options->engine);
  run_command->add_option("--hostname", options->hostname, "The machine's name (default spore)");
  auto* from = run_command->add_option(
      "--from", options->from,
      "Go on from this spore, in place of booting: the command starts in its machine");
  for (const char* name : {"--memory", "--cpus", "--root", "--mount", "--hostname"}) {
    from->excludes(name);
  }
  auto* capture = run_command->add_option("--capture", options->capture,
                                          "Capture the machine into this new directory");
  run_command
      ->add_option("--capture-on", options->capture_on,
                   "When: exit (of the command; default), fixture, usr1, usr2, after:TIME, "
                   "line:TEXT of its output, port:NUMBER (a TCP port that listens)")
      ->needs(capture);
  run_command
      ->add_option("--quiesce", options->quiesce, "Wait so long between that and the capture")
      ->needs(capture);
  run_command
      ->add_flag("--continue-after-capture", options->continue_after_capture,
                 "The command goes on after the capture; else it ends there, with status 0")
      ->needs(capture);
  run_command
      ->add_flag("!--no-flat", options->flat,
                 "Keep RAM only compressed, not also as this host can map it")
      ->needs(capture);
  run_command->add_flag("--json", options->json,
                        "A document about it on standard output; the command's output goes to "
                        "standard error");
  run_command->add_option("command", options->command.argv, "The command and its arguments")
      ->required();
  run_command->positionals_at_end();
  run_command->footer(
      "Answers the command's exit status (128 + N for signal N); 124 after --timeout, 125 when\n"
      "spore itself fails, 126 when the command cannot be executed, 127 when it is not found.\n"
      "Examples:\n  spore run --memory 1G --timeout 30s -- uname -a\n"
      "  spore run --capture warm --capture-on port:8080 -- ./server\n"
      "  spore run --from warm -- ps aux");
  run_command->callback([options, &context] { context.status = run(*options); });
}

}  // namespace spore::cli
