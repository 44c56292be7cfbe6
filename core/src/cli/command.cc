#include "cli/command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

namespace spore::cli {

int report(const Error& error) {
  fmt::print(stderr, "spore: {}\n", error.message());
  return error.code() == ErrorCode::kInterrupted ? kInterrupted : kOwnError;
}

void show_progress(std::string_view what) {
  if (isatty(STDERR_FILENO) != 0) {
    fmt::print(stderr, "spore: {} ...\n", what);
  }
}

void end_on_signals() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    std::signal(number,
                [](int received) { _exit(received == SIGINT ? kInterrupted : 128 + SIGTERM); });
  }
}

void add_command_options(CLI::App& verb, CommandWords& command) {
  verb.add_option("-e,--env", command.env, "NAME=VALUE for the command, or NAME to pass it on")
      ->allow_extra_args(false);
  verb.add_option("-w,--workdir", command.workdir, "Where it runs (default /)");
  verb.add_option("-u,--user", command.user, "Who it runs as, a name or a number");
  verb.add_flag("-t,--tty", command.terminal, "Give it a terminal");
}

void add_engine_option(CLI::App& verb, std::string& engine) {
  verb.add_option("--engine", engine, "auto, kvm or nest")
      ->check(CLI::IsMember({"auto", "kvm", "nest"}));
}

}  // namespace spore::cli
