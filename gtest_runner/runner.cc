#include "runner.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "clock.h"
#include "guest_command.h"

namespace spore::gtest_runner {
namespace {

using Clock = std::chrono::steady_clock;

// Whoever finds the file when the run is over knows that it ended before its tests did.
class PrematureExitFile {
 public:
  static Result<std::unique_ptr<PrematureExitFile>> create(const std::string& path) {
    if (!path.empty() && !(std::ofstream(path) << "0")) {
      return fail(ErrorCode::kPermissionDenied,
                  fmt::format("writing {} (TEST_PREMATURE_EXIT_FILE): it cannot be created", path));
    }
    return std::unique_ptr<PrematureExitFile>(new PrematureExitFile(path));
  }
  ~PrematureExitFile() {
    if (!path_.empty()) {
      ::unlink(path_.c_str());
    }
  }
  PrematureExitFile(const PrematureExitFile&) = delete;
  PrematureExitFile& operator=(const PrematureExitFile&) = delete;

 private:
  explicit PrematureExitFile(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

}  // namespace

Runner::Runner(Session& session, const Options& options, const Program& program,
               std::vector<std::string> images, TextSink& sink, bool stdout_is_terminal,
               std::function<void(std::string_view)> progress)
    : session_(session),
      options_(options),
      program_(program),
      dist_(options.dist.value_or(program.has_fixture_point ? Dist::kLoad : Dist::kShard)),
      images_(std::move(images)),
      sink_(sink),
      stdout_is_terminal_(stdout_is_terminal),
      progress_(std::move(progress)),
      budget_(options.memory_budget) {
  output_ = resolve_output(options_.gtest.output, program_.path);
  costs_.engine = session_.engine();
}

void Runner::say(const std::string& text) const {
  sink_.err("spore-test: " + text + "\n");
}

Result<int> Runner::run() {
  if (!options_.outer.status_file.empty() && !std::ofstream(options_.outer.status_file)) {
    return fail(ErrorCode::kPermissionDenied,
                fmt::format("writing {} (the shard's status file): it cannot be created",
                            options_.outer.status_file));
  }
  SPORE_ASSIGN(const auto premature_exit_file,
               PrematureExitFile::create(options_.outer.premature_exit_file));
  if (!options_.gtest.output.empty() && !output_) {
    say(fmt::format("--gtest_output={}: no such format, ignored", options_.gtest.output));
  }
  SPORE_TRY(boot());
  if (options_.gtest.help || options_.gtest.list_tests) {
    return pass_through();
  }
  SPORE_ASSIGN(const auto answered, list_tests());
  if (answered) {
    return *answered;
  }
  if (!selection_.to_run.empty()) {
    SPORE_TRY(set_up());
    SPORE_ASSIGN(const auto ended, reach_fixture_point());
    if (ended) {
      return *ended;
    }
    SPORE_TRY(capture());
  }
  bool passed = true;
  for (int i = 0; options_.gtest.repeat < 0 || i < options_.gtest.repeat; ++i) {
    SPORE_ASSIGN(const bool iteration_passed, run_iteration(i));
    passed = passed && iteration_passed;
  }
  return passed ? 0 : 1;
}

Result<void> Runner::boot() {
  progress_("booting the machine");
  const auto start = Clock::now();
  MachineConfig config;
  config.memory_bytes = options_.memory_mib * kMiB;
  config.cpus = options_.cpus;
  config.kernel = options_.kernel;
  config.images = images_;
  SPORE_ASSIGN(parent_, session_.boot(config));
  costs_.boot_s = seconds_since(start);
  return {};
}

ExecRequest Runner::request(std::vector<std::string> gtest_flags) const {
  ExecRequest request;
  request.argv = {program_.path};
  request.argv.insert(request.argv.end(), gtest_flags.begin(), gtest_flags.end());
  request.argv.insert(request.argv.end(), options_.gtest.rest.begin(), options_.gtest.rest.end());
  request.env = options_.gtest.env;
  for (const auto& [name, value] : options_.env) {
    request.env[name] = value;
  }
  request.workdir = options_.workdir;
  return request;
}

std::string Runner::guest_report_path(std::size_t batch) const {
  return output_ ? fmt::format("{}/spore-test-{}-{}.{}", options_.guest_scratch, getpid(), batch,
                               output_->format)
                 : std::string();
}

std::vector<std::string> Runner::run_flags(const std::string& filter,
                                           const std::string& report_path) const {
  std::vector<std::string> flags = {"--gtest_filter=" + filter, "--gtest_color=no",
                                    "--gtest_print_time=1"};
  if (options_.gtest.also_run_disabled_tests) {
    flags.emplace_back("--gtest_also_run_disabled_tests");
  }
  if (options_.gtest.shuffle) {
    flags.emplace_back("--gtest_shuffle");
    flags.push_back(fmt::format("--gtest_random_seed={}", random_seed_));
  }
  if (!report_path.empty()) {
    flags.push_back(fmt::format("--gtest_output={}:{}", output_->format, report_path));
  }
  return flags;
}

Result<int> Runner::pass_through() {
  std::vector<std::string> flags;
  if (options_.gtest.list_tests) {
    flags = {"--gtest_list_tests", "--gtest_filter=" + options_.gtest.filter};
    if (output_) {
      flags.push_back(fmt::format("--gtest_output={}:{}", output_->format, guest_report_path(0)));
    }
  }
  SPORE_ASSIGN(const CommandResult result,
               run_command(*parent_, request(flags), options_.timeout, program_.path));
  sink_.err(result.errors);
  sink_.out(result.out);
  if (output_ && options_.gtest.list_tests && result.exit.status() == 0) {
    ExecRequest fetch;
    fetch.argv = {"cat", guest_report_path(0)};
    SPORE_ASSIGN(const CommandResult file, run_command(*parent_, fetch, options_.timeout, "cat"));
    SPORE_TRY(write_output(*output_, file.out));
  }
  return result.exit.status();
}

// Fills list_ and selection_; an exit status when that was all there is to do.
Result<std::optional<int>> Runner::list_tests() {
  progress_("listing the tests");
  std::vector<std::string> flags = {"--gtest_list_tests", "--gtest_filter=" + options_.gtest.filter,
                                    "--gtest_color=no"};
  if (output_) {
    flags.push_back(fmt::format("--gtest_output={}:{}", output_->format, guest_report_path(0)));
  }
  SPORE_ASSIGN(const CommandResult listed,
               run_command(*parent_, request(flags), options_.timeout, program_.path));
  list_ = parse_test_list(listed.out);
  if (list_.tests.empty()) {
    SPORE_ASSIGN(const auto answered, nothing_listed(listed));
    if (answered) {
      return answered;
    }
  } else if (listed.exit.status() != 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("listing the tests of {}: it {}\n{}", program_.path,
                            describe(listed.exit), listed.errors));
  }
  if (output_) {
    ExecRequest fetch;
    fetch.argv = {"cat", guest_report_path(0)};
    SPORE_ASSIGN(CommandResult file, run_command(*parent_, fetch, options_.timeout, "cat"));
    listing_ = std::move(file.out);
  }
  selection_ = select_tests(list_, options_.gtest.also_run_disabled_tests, options_.outer.index,
                            options_.outer.total);
  return std::nullopt;
}

// No GoogleTest program, one that gave its help, or a filter that matches nothing.
Result<std::optional<int>> Runner::nothing_listed(const CommandResult& listed) {
  constexpr std::string_view kHelp = "This program contains tests written using Google Test";
  if (listed.out.find(kHelp) != std::string::npos) {
    sink_.err(listed.errors);
    sink_.out(listed.out);
    return listed.exit.status();
  }
  ExecRequest help;
  help.argv = {program_.path, "--help"};
  help.workdir = options_.workdir;
  help.env = request({}).env;
  SPORE_ASSIGN(const CommandResult helped,
               run_command(*parent_, help, options_.timeout, program_.path));
  if (helped.out.find(kHelp) == std::string::npos) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} is no GoogleTest program: with --gtest_list_tests it {} and listed "
                            "no test{}{}",
                            program_.path, describe(listed.exit),
                            listed.errors.empty() ? "" : "; it said: ", listed.errors));
  }
  return std::nullopt;
}

Result<void> Runner::set_up() {
  // The whole file, not only what a listing touched: every child shares these pages.
  ExecRequest warm;
  warm.argv = {"sh", "-c", "exec cat \"$0\" > /dev/null", program_.path};
  SPORE_TRY(run_command(*parent_, warm, options_.timeout, "cat"));
  if (options_.setup.empty()) {
    return {};
  }
  progress_("setting up");
  const auto start = Clock::now();
  ExecRequest setup = request({});
  setup.argv = {"sh", "-c", options_.setup};
  SPORE_ASSIGN(const CommandResult result,
               run_command(*parent_, setup, options_.timeout, "the --setup command"));
  sink_.err(result.errors);
  sink_.out(result.out);
  if (result.exit.status() != 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the --setup command {}: {}", describe(result.exit), options_.setup));
  }
  costs_.setup_s = seconds_since(start);
  return {};
}

// Starts a program that has a fixture point, and waits until it is there. An exit status when it
// ended before.
Result<std::optional<int>> Runner::reach_fixture_point() {
  random_seed_ = options_.gtest.random_seed > 0 ? options_.gtest.random_seed
                                                : static_cast<int>(epoch_ms() % kMaxSeed) + 1;
  if (!program_.has_fixture_point) {
    return std::nullopt;
  }
  progress_("setting up the global test environments");
  const auto start = Clock::now();
  SPORE_ASSIGN(const auto process,
               parent_->exec(request(run_flags(options_.gtest.filter, guest_report_path(0)))));
  parent_parser_.emplace(list_, selection_.to_run);
  std::string text;
  for (;;) {
    const auto event = process->next_event(options_.timeout);
    if (!event) {
      sink_.out(text);
      return fail(
          ErrorCode::kTimedOut,
          fmt::format("{} did not reach its fixture point within --timeout; it is where the "
                      "set-up of the global test environments ends",
                      program_.path));
    }
    if (const auto* output = std::get_if<Output>(&*event)) {
      if (output->stream == OutputStream::kStderr) {
        sink_.err(output->data);
      } else {
        text += output->data;
        parent_parser_->feed(output->data);
      }
    } else if (std::holds_alternative<AtFixturePoint>(*event)) {
      inherited_ = process->id();
      costs_.setup_s += seconds_since(start);
      return std::nullopt;
    } else if (const auto* exited = std::get_if<Exited>(&*event)) {
      sink_.out(text);
      say(
          fmt::format("{} {} before its fixture point, in the set-up of its global test "
                      "environments: no child was made",
                      program_.path, describe(*exited)));
      return 1;
    } else {
      sink_.out(text);
      const MachineEnd& end = std::get<Lost>(*event).end;
      return fail(ErrorCode::kMachineEnded,
                  fmt::format("the machine was lost before the fixture point: {} ({})\n{}",
                              to_string(end.reason), end.detail, end.console_tail));
    }
  }
}

Result<void> Runner::capture() {
  progress_("capturing the machine");
  const auto start = Clock::now();
  SPORE_ASSIGN(spore_, parent_->capture({}));
  costs_.capture_ms = seconds_since(start) * 1000;
  parent_.reset();
  return {};
}

}  // namespace spore::gtest_runner
