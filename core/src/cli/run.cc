// `spore run`: one command in a throw-away machine.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "cli/process_io.h"
#include "cli/root_images.h"
#include "cli/run_arguments.h"
#include "session/ended.h"
#include "spore/image.h"

namespace spore::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kTimedOutStatus = 124;

struct RunOptions {
  std::string memory = "512M";
  std::uint32_t cpus = 1;
  std::string kernel;
  std::vector<std::string> roots;
  std::vector<std::string> mounts;
  std::vector<std::string> env;
  std::string workdir = "/";
  std::string user;
  std::string timeout;
  std::string console_log;
  std::string engine = "auto";
  std::string hostname = "spore";
  bool terminal = false;
  std::vector<std::string> argv;
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
    std::string& program = options.argv.front();
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

Result<ExecRequest> exec_request(const RunOptions& options) {
  ExecRequest request;
  request.argv = options.argv;
  SPORE_ASSIGN(request.env, parse_environment(options.env));
  request.workdir = options.workdir;
  request.user = options.user;
  request.terminal = options.terminal;
  if (options.terminal) {
    const TerminalSize size = terminal_size().value_or(TerminalSize{});
    request.rows = size.rows;
    request.columns = size.columns;
    if (const char* term = std::getenv("TERM"); term != nullptr) {
      request.env.try_emplace("TERM", term);
    }
  }
  return request;
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

int status_of(const Followed& followed, const SignalForwarder& signals, std::uint64_t memory,
              const RunOptions& options, const std::string& console) {
  switch (followed.outcome) {
    case Followed::Outcome::kExited:
      if (followed.exited.out_of_memory) {
        say(session::with_console(
            fmt::format("the command was killed: its machine ran out of memory ({} MiB): give it "
                        "more with --memory",
                        memory / kMiB),
            console));
      }
      return followed.exited.status();
    case Followed::Outcome::kOutputClosed:
      return 128 + SIGPIPE;
    case Followed::Outcome::kTimedOut:
      say(session::with_console(
          fmt::format("the command did not end within --timeout {}: its machine was closed",
                      options.timeout),
          followed.end.console_tail));
      return kTimedOutStatus;
    case Followed::Outcome::kLost:
      break;
  }
  if (signals.killed()) {
    return kInterrupted;
  }
  std::string sentence = "running the command: " + session::describe_end(followed.end);
  const std::string advice = session::memory_advice(followed.end.console_tail, memory);
  if (followed.end.reason != EndReason::kPoweredOff && !advice.empty()) {
    sentence += ": " + advice + " with --memory";
  }
  say(session::with_console(std::move(sentence), followed.end.console_tail));
  return kOwnError;
}

Outcome<int> run_in_machine(RunOptions& options) {
  MachineConfig config;
  std::optional<Milliseconds> timeout;
  const auto parse = [&]() -> Result<void> {
    SPORE_ASSIGN(config.memory_bytes, parse_memory(options.memory));
    if (!options.timeout.empty()) {
      SPORE_ASSIGN(timeout, parse_duration(options.timeout));
    }
    return {};
  };
  if (const auto parsed = parse(); !parsed) {
    return give_up(parsed.error());
  }
  auto log = open_console_log(options.console_log);
  if (!log) {
    return give_up(log.error());
  }
  SignalForwarder signals;
  auto images = build_images(options);
  if (!images) {
    return tl::unexpected<Failure>(images.error());
  }
  config.cpus = options.cpus;
  config.kernel = options.kernel;
  config.hostname = options.hostname;
  config.images = std::move(*images);
  const auto request = exec_request(options);
  if (!request) {
    return give_up(request.error());
  }
  const auto session = open_session({.engine = options.engine, .progress = show_progress});
  if (!session) {
    return give_up(session.error());
  }
  show_progress("booting a machine");
  const auto machine = (*session)->boot(config);
  if (!machine) {
    *log << machine.error().message() << '\n';
    return give_up(machine.error());
  }
  const auto process = (*machine)->exec(*request);
  if (!process) {
    *log << (*machine)->console_tail();
    return give_up(process.error(), status_for_start(process.error()));
  }
  Followed followed;
  {
    const RawTerminal raw(options.terminal);
    signals.attach(**machine, **process);
    followed = follow_process(**machine, **process, timeout);
    signals.detach();
  }
  const std::string console = followed.outcome == Followed::Outcome::kExited
                                  ? (*machine)->console_tail()
                                  : followed.end.console_tail;
  *log << console;
  return status_of(followed, signals, config.memory_bytes, options, console);
}

int run(RunOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  const auto status = run_in_machine(options);
  if (status) {
    return *status;
  }
  const int own = report(status.error().error);
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
  list("-e,--env", options->env, "NAME=VALUE for the command, or NAME to pass it on");
  run_command->add_option("-w,--workdir", options->workdir, "Where it runs (default /)");
  run_command->add_option("-u,--user", options->user, "Who it runs as, a name or a number");
  run_command->add_option("--timeout", options->timeout,
                          "End it after this time, such as 30s or 5m, with status 124");
  run_command->add_option("--console-log", options->console_log,
                          "A file for the end of the machine's console");
  run_command->add_option("--engine", options->engine, "auto, kvm or nest")
      ->check(CLI::IsMember({"auto", "kvm", "nest"}));
  run_command->add_option("--hostname", options->hostname, "The machine's name (default spore)");
  run_command->add_flag("-t,--tty", options->terminal, "Give the command a terminal");
  run_command->add_option("command", options->argv, "The command and its arguments")->required();
  run_command->positionals_at_end();
  run_command->footer(
      "Answers the command's exit status (128 + N for signal N); 124 after --timeout, 125 when\n"
      "spore itself fails, 126 when the command cannot be executed, 127 when it is not found.\n"
      "Example:\n  spore run --memory 1G --timeout 30s -- uname -a");
  run_command->callback([options, &context] { context.status = run(*options); });
}

}  // namespace spore::cli
