#include "options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <thread>

#include "gtest_runner/run/memory_budget.h"

namespace spore::gtest_runner {
namespace {

constexpr std::uint32_t kMaxShards = 1024;
constexpr std::uint64_t kMinMemoryMib = 64;
constexpr std::uint64_t kMaxMemoryMib = 1024 * 1024;
constexpr std::uint32_t kMaxCpus = 8;
constexpr std::uint32_t kMaxRepeat = 1'000'000;

struct RawOptions {
  std::vector<std::string> env;
  std::vector<std::string> mounts;
  std::vector<std::string> data;
  std::string memory = "512";
  std::string memory_budget;
  double timeout = 0;
  double timeout_all = 0;
  std::int64_t shards = 0;
  std::int64_t repeat = 0;
};

std::string absolute(const std::string& path) {
  std::error_code error;
  const auto resolved = std::filesystem::canonical(path, error);
  return error ? std::filesystem::absolute(path, error).string() : resolved.string();
}

Result<ImageMount> parse_mount(const std::string& text) {
  const auto colon = text.find(':');
  const std::string source = absolute(text.substr(0, colon));
  const std::string target = colon == std::string::npos ? source : text.substr(colon + 1);
  if (!std::filesystem::exists(source)) {
    return fail(ErrorCode::kNotFound,
                fmt::format("--mount {}: there is no {} on this host", text, source));
  }
  if (!target.starts_with('/')) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("--mount {}: the place in the guest is to begin with /", text));
  }
  return ImageMount{.source = source, .target = target};
}

Result<std::uint64_t> parse_mib(std::string_view option, std::string_view text,
                                std::uint64_t least) {
  constexpr std::uint64_t kMibPerGib = 1024;
  const std::string_view whole = text;
  std::uint64_t scale = 1;
  if (text.ends_with('G') || text.ends_with('g')) {
    scale = kMibPerGib;
  }
  if (!text.empty() && std::string_view("MmGg").find(text.back()) != std::string_view::npos) {
    text.remove_suffix(1);
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > kMaxMemoryMib / scale ||
      value * scale < least) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} {}: give MiB, or a number with M or G, from {}M to {}G", option,
                            whole, least, kMaxMemoryMib / kMibPerGib));
  }
  return value * scale;
}

Result<std::optional<std::chrono::milliseconds>> parse_timeout(std::string_view option,
                                                               double value) {
  constexpr double kLongest = 1e9;  // seconds
  if (!(value >= 0 && value <= kLongest)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} {}: give a number of seconds", option, value));
  }
  if (value == 0) {
    return std::nullopt;
  }
  return std::chrono::milliseconds(std::max<std::int64_t>(1, std::llround(value * 1000)));
}

Result<void> apply(const RawOptions& raw, Options& options) {
  for (const std::string& entry : raw.env) {
    const auto equals = entry.find('=');
    if (equals == std::string::npos || equals == 0) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("--env {}: give it as NAME=VALUE", entry));
    }
    options.env[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  for (const std::string& entry : raw.mounts) {
    SPORE_ASSIGN(auto mount, parse_mount(entry));
    options.mounts.push_back(std::move(mount));
  }
  for (const std::string& entry : raw.data) {
    const std::string path = absolute(entry);
    SPORE_ASSIGN(auto mount, parse_mount(fmt::format("{}:{}", path, path)));
    options.mounts.push_back(std::move(mount));
  }
  if (options.shards_given && (raw.shards < 1 || raw.shards > kMaxShards)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("--shards {}: give a number from 1 to {}", raw.shards, kMaxShards));
  }
  options.shards = options.shards_given ? static_cast<std::uint32_t>(raw.shards)
                                        : std::max(2U, std::thread::hardware_concurrency());
  SPORE_ASSIGN(options.memory_mib, parse_mib("--memory", raw.memory, kMinMemoryMib));
  if (!raw.memory_budget.empty()) {
    SPORE_ASSIGN(const auto mib,
                 parse_mib("--memory-budget", raw.memory_budget, kSmallestBudget / kMiB));
    options.memory_budget = mib * kMiB;
  }
  if (options.cpus < 1 || options.cpus > kMaxCpus) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("--cpus {}: give a number from 1 to {}", options.cpus, kMaxCpus));
  }
  SPORE_ASSIGN(options.timeout, parse_timeout("--timeout", raw.timeout));
  SPORE_ASSIGN(options.timeout_all, parse_timeout("--timeout-all", raw.timeout_all));
  return {};
}

Result<void> apply_repeat(std::int64_t repeat, Options& options) {
  if (repeat < 1 || repeat > kMaxRepeat) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("--repeat {}: give a number from 1 to {}", repeat, kMaxRepeat));
  }
  if (options.dist.value_or(Dist::kEach) != Dist::kEach || options.gtest.repeat != 1) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("--repeat {} runs every test in a clean machine: leave {} out", repeat,
                            options.gtest.repeat != 1 ? "--gtest_repeat" : "--spore-dist"));
  }
  options.repeat = static_cast<std::uint32_t>(repeat);
  options.dist = Dist::kEach;
  return {};
}

// Relative paths in tests mean what they mean on the host.
void stay_here(Options& options) {
  std::error_code error;
  options.workdir = std::filesystem::current_path(error).string();
  options.makes_workdir = !error;
  if (error) {
    options.workdir = "/";
  }
}

void declare(CLI::App& app, RawOptions& raw, Options& options) {
  app.add_option("-j,--jobs,--shards", raw.shards,
                 "Children that run the tests (default: CPUs, at least 2)");
  app.add_option_function<std::string>(
         "--spore-dist",
         [&options](const std::string& how) {
           options.dist = how == "each" ? Dist::kEach : how == "shard" ? Dist::kShard : Dist::kLoad;
         },
         "load: children take tests as they need them (default where a program has a fixture "
         "point); shard: each child runs its part, dealt as GoogleTest's sharding does (default "
         "elsewhere); each: every test runs in a clean machine, put back after the one before")
      ->check(CLI::IsMember({"load", "shard", "each"}));
  app.add_option_function<std::string>(
         "--scope,--spore-scope",
         [&options](const std::string& scope) {
           options.scope = scope == "suite" ? Scope::kSuite : Scope::kSession;
         },
         "session: tests start where the global environments are set up (default); suite: and, "
         "where their suite has a SetUpTestSuite, behind that, which runs once")
      ->check(CLI::IsMember({"session", "suite"}));
  app.add_option_function<std::string>(
         "--teardown,--spore-teardown",
         [&options](const std::string& how) { options.skip_teardown = how == "skip"; },
         "run (default); skip: throw machines away without TearDownTestSuite and the TearDown of "
         "global environments")
      ->check(CLI::IsMember({"run", "skip"}));
  app.add_option_function<std::string>(
         "--framework",
         [&options](const std::string& name) { options.framework = framework_named(name); },
         "auto (the binary tells), gtest, catch2 or doctest")
      ->check(CLI::IsMember({"auto", "gtest", "catch2", "doctest"}));
  app.add_option("--repeat", raw.repeat,
                 "Runs of each test, every one from the same state with other entropy: tells flaky "
                 "tests from failing ones");
  app.add_option("--keep-failed", options.keep_failed,
                 "Directory where the machines of failed tests are kept, as they were then");
  app.add_option("--debug", options.debug,
                 "TEST whose machine --keep-failed kept: start gdb at the moment of its failure");
  app.add_option("--setup", options.setup, "Shell line, run once in the guest before the fork");
  app.add_option("--memory", raw.memory, "RAM of the machine: MiB, or with a suffix M or G (512)");
  app.add_option(
      "--memory-budget", raw.memory_budget,
      "RAM that all children together may have of their own: when they near it, fewer run");
  app.add_option("--cpus", options.cpus, "Processors of each machine (default 1)");
  app.add_option("--env", raw.env, "NAME=VALUE for the tests; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--mount", raw.mounts, "DIR[:GUEST] copied into the guest; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--data", raw.data, "DIR or file, in the guest at its own path; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--workdir", options.workdir,
                 "Directory in the guest where the tests run (default: where you are)");
  app.add_option("--timeout", raw.timeout,
                 "Seconds after which a child is ended in which no test begins or ends");
  app.add_option("--timeout-all", raw.timeout_all,
                 "Seconds after which the whole run is ended; reports are written");
  app.add_option("--html", options.html,
                 "File for a page about the run: time lines, the tree of forks, failures");
  app.add_option("--json", options.json, "File for a summary of the run, for scripts");
  app.add_option("--engine", options.engine, "auto, kvm or nest")
      ->check(CLI::IsMember({"auto", "kvm", "nest"}));
  app.add_option("--kernel", options.kernel, "Kernel image (default: the newest in /boot)");
  app.add_option("--console-log", options.console_log,
                 "File for the end of the consoles of machines that were lost");
  app.add_flag("--timings", options.timings,
               "Say at the end how long each phase took, in a JSON report too");
  app.add_flag("--spore-fresh", options.fresh,
               "Start from nothing, though the machine of an earlier run is kept");
  app.add_flag("--prepare", options.prepare,
               "Make the machine from which later runs go on, and keep it; run no test");
  app.prefix_command();  // all from the binary on is the binary's
  app.footer("\nspore-test [OPTIONS] BINARY [the framework's and the program's own flags]");
}

}  // namespace

Result<ParsedOptions> parse_options(int argc, const char* const* argv, const Lookup& getenv) {
  CLI::App app(
      "Boots one machine, sets it up once, and runs the tests of a GoogleTest, Catch2 or "
      "doctest binary in forks of it. Flags after BINARY are the binary's own.",
      "spore-test");
  app.set_version_flag("--version", "spore-test 0.1.0");
  RawOptions raw;
  Options options;
  declare(app, raw, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return ParsedOptions{.options = std::nullopt, .text = app.help()};
  } catch (const CLI::CallForVersion& version) {
    return ParsedOptions{.options = std::nullopt, .text = std::string(version.what()) + "\n"};
  } catch (const CLI::ParseError& error) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} (spore-test --help tells the options)", error.what()));
  }
  options.shards_given = app.count("--shards") > 0;
  SPORE_TRY(apply(raw, options));
  const std::vector<std::string> command = app.remaining();
  if (command.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "no test binary is given (spore-test [options] BINARY [flags])");
  }
  options.binary = command.front();
  if (options.binary.starts_with("-")) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: there is no such option (spore-test --help tells them; flags of "
                            "the binary come after it)",
                            options.binary));
  }
  SPORE_ASSIGN(options.gtest, parse_gtest_flags({command.begin() + 1, command.end()}, getenv));
  SPORE_ASSIGN(options.outer, parse_outer_shard(getenv));
  options.profiles = parse_profile_places(getenv);
  if (!options.debug.empty() && options.keep_failed.empty()) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("--debug {}: say with --keep-failed where its machine is kept", options.debug));
  }
  if (app.count("--repeat") > 0) {
    SPORE_TRY(apply_repeat(raw.repeat, options));
  }
  if (options.workdir.empty()) {
    stay_here(options);
  }
  return ParsedOptions{.options = std::move(options), .text = ""};
}

}  // namespace spore::gtest_runner
