// What the verbs of the `spore` command share. Each verb is a file pair with one function that
// registers it; main() lists them. A verb's callback leaves its exit status in Context::status.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

#include "cli/run_arguments.h"
#include "spore/result.h"

namespace spore::cli {

// Spore's own errors; what a guest's process answers is passed on.
inline constexpr int kOwnError = 125;
inline constexpr int kTimedOutStatus = 124;
inline constexpr int kInterrupted = 130;

struct Context {
  int status = 0;
};

// One line on stderr, "spore: <message>"; the exit status for it.
int report(const Error& error);

// A line on stderr about a slow step, when a person looks at it.
void show_progress(std::string_view what);

// Ends the program at once with 130 on SIGINT, 143 on SIGTERM and SIGHUP. What it started in the
// nest, or was about to start, ends with it. For verbs that do not forward signals.
void end_on_signals();

// --env, --workdir, --user and --tty; the command itself is the verb's to add.
void add_command_options(CLI::App& verb, CommandWords& command);

// --engine, into `engine`.
void add_engine_option(CLI::App& verb, std::string& engine);

void add_bench_command(CLI::App& app, Context& context);
void add_cache_commands(CLI::App& app, Context& context);
void add_completion_commands(CLI::App& app, Context& context);
void add_diff_command(CLI::App& app, Context& context);
void add_fanout_command(CLI::App& app, Context& context);
void add_fork_command(CLI::App& app, Context& context);
void add_gc_command(CLI::App& app, Context& context);
void add_host_info_command(CLI::App& app, Context& context);
void add_inspect_command(CLI::App& app, Context& context);
// create, exec, cp, logs, list, rm
void add_machine_commands(CLI::App& app, Context& context);
void add_manual_command(CLI::App& app, Context& context);
void add_nest_commands(CLI::App& app, Context& context);
void add_pack_command(CLI::App& app, Context& context);
void add_resume_command(CLI::App& app, Context& context);
void add_run_command(CLI::App& app, Context& context);
void add_serve_command(CLI::App& app, Context& context);
void add_unpack_command(CLI::App& app, Context& context);
void add_worker_command(CLI::App& app, Context& context);

}  // namespace spore::cli
