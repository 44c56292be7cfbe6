// The `spore` command.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <string_view>

#include "cli/command.h"
#include "cli/json_output.h"

namespace {

// A command line that could not be understood may still say how errors are wanted.
bool wants_json(int argc, char** argv) {
  char** end = std::find(argv, argv + argc, std::string_view("--"));
  return std::find(argv, end, std::string_view("--json")) != end;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Spore: fork a booted virtual machine per test.", "spore");
  app.set_version_flag("--version", "spore " SPORE_VERSION);
  app.require_subcommand(1);
  app.footer("`spore VERB --help` says more about each.");
  spore::cli::Context context;
  spore::cli::add_host_info_command(app, context);
  spore::cli::add_bench_command(app, context);
  spore::cli::add_nest_commands(app, context);
  spore::cli::add_run_command(app, context);
  spore::cli::add_resume_command(app, context);
  spore::cli::add_fanout_command(app, context);
  spore::cli::add_worker_command(app, context);
  spore::cli::add_machine_commands(app, context);
  spore::cli::add_serve_command(app, context);
  spore::cli::add_inspect_command(app, context);
  spore::cli::add_diff_command(app, context);
  spore::cli::add_fork_command(app, context);
  spore::cli::add_pack_command(app, context);
  spore::cli::add_unpack_command(app, context);
  spore::cli::add_gc_command(app, context);
  spore::cli::add_cache_commands(app, context);
  spore::cli::add_completion_commands(app, context);
  spore::cli::add_manual_command(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      return app.exit(error);  // --help, --version
    }
    const spore::Error usage(spore::ErrorCode::kInvalidArgument,
                             fmt::format("{} (`spore --help` shows how it is used)", error.what()));
    return spore::cli::report(usage, wants_json(argc, argv));
  } catch (const std::exception& error) {
    fmt::print(stderr, "spore: {}\n", error.what());
    return spore::cli::kOwnError;
  }
  return context.status;
}
