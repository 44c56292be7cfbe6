// `spore bench`: what machines cost on this host, in one table.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "cli/bench_measure.h"
#include "cli/bench_report.h"
#include "cli/command.h"
#include "cli/run_arguments.h"

namespace spore::cli {
namespace {

namespace fs = std::filesystem;

struct BenchArguments {
  BenchOptions options;
  std::string memory = "512M";
  std::string svg;
  bool json = false;
};

// Before minutes of measuring, not after them.
Result<void> check_svg_path(const std::string& path) {
  const std::string directory = fs::absolute(path).parent_path().string();
  std::error_code error;
  if (fs::is_directory(path, error)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("writing --svg {}: it is a directory", path));
  }
  if (::access(directory.c_str(), W_OK) != 0) {
    return fail(Error::from_errno(errno, fmt::format("writing --svg {}", path)));
  }
  return {};
}

Result<void> write_atomically(const std::string& path, const std::string& text) {
  const std::string partial = fmt::format("{}.partial-{}", path, ::getpid());
  std::ofstream file(partial, std::ios::trunc | std::ios::binary);
  file << text;
  file.close();
  if (!file || std::rename(partial.c_str(), path.c_str()) != 0) {
    const Error error = Error::from_errno(errno, fmt::format("writing --svg {}", path));
    ::unlink(partial.c_str());
    return fail(error);
  }
  return {};
}

Result<void> bench(BenchArguments& arguments) {
  SPORE_ASSIGN(arguments.options.memory_bytes, parse_memory(arguments.memory));
  if (!arguments.svg.empty()) {
    SPORE_TRY(check_svg_path(arguments.svg));
  }
  SPORE_ASSIGN(const BenchReport report, run_bench(arguments.options));
  if (arguments.json) {
    fmt::print("{}", render_json(report));
  } else {
    fmt::print("engine: {}\n{}", report.engine, render_table(report));
  }
  return arguments.svg.empty() ? Result<void>{}
                               : write_atomically(arguments.svg, render_svg(report));
}

}  // namespace

void add_bench_command(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("bench", "Measure what machines cost on this host");
  auto arguments = std::make_shared<BenchArguments>();
  add_engine_option(*command, arguments->options.engine);
  command->add_option("-m,--memory", arguments->memory,
                      "The machines' RAM (default 512M), but for the captures");
  command->add_flag("--json", arguments->json, "As a JSON object");
  command->add_option("--svg", arguments->svg,
                      "A file for a chart of what a reset costs over dirty pages");
  command->add_flag("--quick", arguments->options.quick, "Fewer samples and sizes");
  command->footer("Example:\n  spore bench --quick --svg reset.svg");
  command->callback([arguments, &context] {
    end_on_signals();
    std::signal(SIGPIPE, SIG_IGN);  // the end of the nest is an Error
    const auto done = bench(*arguments);
    context.status = done ? 0 : report(done.error());
  });
}

}  // namespace spore::cli
