#include "runner.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "clock.h"
#include "guest_command.h"
#include "sanitizer_text.h"

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
      budget_(options.memory_budget),
      coverage_(options.profiles, program.path),
      story_(!options.html.empty() || !options.json.empty()) {
  if (!options_.keep_failed.empty()) {
    keeper_.emplace(options_.keep_failed);
  }
  output_ = resolve_output(options_.gtest.output, program_.path);
  costs_.engine = session_.engine();
}

void Runner::say(const std::string& text) const {
  sink_.err("spore-test: " + text + "\n");
}

Result<int> Runner::run_all() {
  if (!options_.outer.status_file.empty() && !std::ofstream(options_.outer.status_file)) {
    return fail(ErrorCode::kPermissionDenied,
                fmt::format("writing {} (the shard's status file): it cannot be created",
                            options_.outer.status_file));
  }
  if (options_.prepare && key_.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "--prepare: no later run could go on from the machine: SPORE_KEPT_LIMIT is 0, or "
                "the tests are shuffled without --gtest_random_seed");
  }
  SPORE_ASSIGN(const auto premature_exit_file,
               PrematureExitFile::create(options_.outer.premature_exit_file));
  if (!options_.gtest.output.empty() && !output_) {
    say(fmt::format("--gtest_output={}: no such format, ignored", options_.gtest.output));
  }
  random_seed_ = options_.gtest.random_seed > 0 ? options_.gtest.random_seed
                                                : static_cast<int>(epoch_ms() % kMaxSeed) + 1;
  if (options_.gtest.help || options_.gtest.list_tests) {
    SPORE_TRY(boot());
    return pass_through();
  }
  look_for_kept();
  if (!spore_) {
    SPORE_TRY(boot());
  }
  SPORE_ASSIGN(const auto answered, list_tests());
  if (answered) {
    return *answered;
  }
  SPORE_ASSIGN(const auto ended, start());
  if (ended) {
    return *ended;
  }
  SPORE_ASSIGN(const bool passed, run_repeatedly());
  if (const auto kept = keep(); !kept && options_.prepare) {
    return fail(kept.error());
  } else if (!kept) {
    say(kept.error().message());
  }
  SPORE_TRY(coverage_.bring_home());
  return passed ? 0 : 1;
}

ExecRequest Runner::request(std::vector<std::string> gtest_flags) const {
  ExecRequest request;
  request.argv = {program_.path};
  request.argv.insert(request.argv.end(), gtest_flags.begin(), gtest_flags.end());
  request.argv.insert(request.argv.end(), options_.gtest.rest.begin(), options_.gtest.rest.end());
  request.env = environment();
  if (!program_.has_fixture_point && !program_.is_sanitized) {
    request.env.try_emplace("LD_PRELOAD", options_.stack_library);  // the user's own comes first
  }
  end_at_sanitizer_reports(request.env);
  request.workdir = options_.workdir;
  return request;
}

std::map<std::string, std::string> Runner::environment() const {
  auto env = options_.gtest.env;
  for (const auto& [name, value] : options_.env) {
    env[name] = value;
  }
  return env;
}

std::string Runner::guest_report_path(std::size_t batch) const {
  return output_
             ? fmt::format("{}/spore-test-{}.{}", options_.guest_scratch, batch, output_->format)
             : std::string();
}

std::string Runner::guest_profiles(std::string_view of) const {
  return fmt::format("{}/spore-profiles-{}", options_.guest_scratch, of);
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
  SPORE_ASSIGN(
      const CommandResult result,
      run_command(*parent_, request(flags), ending_.patience(options_.timeout), program_.path));
  sink_.err(result.errors);
  sink_.out(result.out);
  if (output_ && options_.gtest.list_tests && result.exit.status() == 0) {
    ExecRequest fetch;
    fetch.argv = {"cat", guest_report_path(0)};
    SPORE_ASSIGN(const CommandResult file,
                 run_command(*parent_, fetch, ending_.patience(options_.timeout), "cat"));
    SPORE_TRY(write_output(*output_, file.out));
  }
  return result.exit.status();
}

// Fills list_ and selection_; an exit status when that was all there is to do. All tests are
// listed, so that a machine does for every filter.
Result<std::optional<int>> Runner::list_tests() {
  if (!kept_) {
    progress_("listing the tests");
    const auto start = Clock::now();
    std::vector<std::string> flags = {"--gtest_list_tests", "--gtest_filter=*", "--gtest_color=no"};
    if (output_) {
      flags.push_back(fmt::format("--gtest_output={}:{}", output_->format, guest_report_path(0)));
    }
    ExecRequest listing = request(flags);
    if (program_.has_suite_points) {
      listing.env["SPORE_LIST_SUITES"] = "1";
    }
    set_profile_variables(options_.profiles, guest_profiles("list"), listing.env);
    SPORE_ASSIGN(const CommandResult listed,
                 run_command(*parent_, listing, ending_.patience(options_.timeout), program_.path));
    SPORE_ASSIGN(
        const CommandResult profiles,
        run_command(*parent_, profile_request(guest_profiles("list")), options_.timeout, "tar"));
    notes_.is_profiled = !profiles.out.empty();
    notes_.list = listed.out;
    notes_.suites = suites_with_set_up(listed.errors);
    if (parse_test_list(listed.out).tests.empty()) {
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
      SPORE_ASSIGN(CommandResult file,
                   run_command(*parent_, fetch, ending_.patience(options_.timeout), "cat"));
      notes_.listing = std::move(file.out);
    }
    story_.did("listing", seconds_since(start));
  }
  list_ = filtered(parse_test_list(notes_.list), options_.gtest.filter);
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
               run_command(*parent_, help, ending_.patience(options_.timeout), program_.path));
  if (helped.out.find(kHelp) == std::string::npos) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} is no GoogleTest program: with --gtest_list_tests it {} and listed "
                            "no test{}{}",
                            program_.path, describe(listed.exit),
                            listed.errors.empty() ? "" : "; it said: ", listed.errors));
  }
  return std::nullopt;
}

}  // namespace spore::gtest_runner
