#include "runner.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "gtest_runner/clock.h"
#include "gtest_runner/failures/sanitizer_text.h"
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
    SPORE_ASSIGN(const auto answered, choose_framework());
    if (answered) {
      return *answered;
    }
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

ExecRequest Runner::request(const std::vector<std::string>& arguments) const {
  ExecRequest request;
  request.argv = {program_.path};
  request.argv.insert(request.argv.end(), arguments.begin(), arguments.end());
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

Result<int> Runner::pass_through() {
  std::vector<std::string> flags;
  if (options_.gtest.list_tests) {
    flags = {"--gtest_list_tests", "--gtest_filter=" + options_.gtest.filter};
    if (output_) {
      flags.push_back(fmt::format("--gtest_output={}:{}", output_->format, guest_report_path(0)));
    }
  }
  const auto& rest = options_.gtest.rest;
  const bool is_marked = framework_ && framework_->kind() != FrameworkKind::kGoogleTest &&
                         !rest.empty() && rest.front() == "--";
  flags.insert(flags.end(), rest.begin() + (is_marked ? 1 : 0), rest.end());
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

}  // namespace spore::gtest_runner
