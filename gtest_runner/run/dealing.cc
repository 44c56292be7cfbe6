// Runner's dealing of tests: which worker gets which, and how its child is told.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "runner.h"

namespace spore::gtest_runner {
namespace {

// One argument of execve() may have 128 KiB; the parameters of a fork 3 KiB in all.
constexpr std::size_t kMaxFilterArgument = std::size_t{96} * 1024;
constexpr std::size_t kMaxFilterParameter = 2560;
constexpr std::size_t kMaxArgumentsParameter = 1280;  // escaped, they may be twice as long
constexpr const char* kFilterParameter = "gtest_filter";
constexpr const char* kArgumentsParameter = "test_arguments";  // see spore_test_arguments.h
constexpr const char* kOrdersParameter = "gtest_orders";       // see guest/lib/spore_gtest.cc

}  // namespace

std::vector<Runner::Worker> Runner::make_workers() {
  const std::size_t tests = selection_.to_run.size();
  const bool deals_itself = framework_->choose_by_user().has_value();
  if (tests == 0 && !deals_itself) {
    return {};  // asked for no test, it would run all
  }
  // A program that has nothing to run is run too: its main() may fail.
  const std::size_t count = std::clamp<std::size_t>(tests, 1, options_.shards);
  if (options_.shards_given && count < options_.shards && tests > 0) {
    say(fmt::format("{} children for {} test{}, not {}", count, tests, tests == 1 ? "" : "s",
                    options_.shards));
  }
  std::vector<Worker> workers(count);
  const bool dealt = dist_ == Dist::kShard;
  const auto hands = deal(selection_.to_run, std::max<std::size_t>(count, 1));
  waiting_.clear();
  if (!dealt) {
    waiting_.assign(selection_.to_run.begin(), selection_.to_run.end());
  }
  for (std::size_t i = 0; i < count; ++i) {
    Worker& worker = workers[i];
    worker.index = i;
    worker.parameters.child_index = static_cast<std::uint32_t>(i);
    worker.parameters.child_count = static_cast<std::uint32_t>(count);
    worker.parameters.shard_index = static_cast<std::uint32_t>(i);
    worker.parameters.shard_count = static_cast<std::uint32_t>(count);
    if (dealt) {
      // A program at its fixture point was told of no filter.
      const bool by_name = program_.has_fixture_point &&
                           (options_.gtest.filter != "*" || options_.scope == Scope::kSuite);
      fill_batch(worker, hands[i],
                 by_name || options_.outer.total > 1 || tests == 0 || !deals_itself);
    } else {
      fill_batch(worker, take_tests(), true);
    }
  }
  return workers;
}

std::vector<std::size_t> Runner::take_tests() {
  const std::lock_guard lock(mutex_);
  const std::size_t count = dist_ == Dist::kEach ? std::min<std::size_t>(waiting_.size(), 1)
                                                 : turn_size(waiting_.size(), options_.shards,
                                                             pace_.tests_worth_a_start());
  const auto first = options_.scope == Scope::kSuite ? first_ready() : waiting_.begin();
  const auto most = std::min(waiting_.end() - first, static_cast<std::ptrdiff_t>(count));
  const auto end = end_of_turn(first, first + most);
  std::vector<std::size_t> tests(first, end);
  waiting_.erase(first, end);
  return tests;
}

// Whether the worker's next batch can run in the machine of the last one: its program is started
// anew for each, and the last came to its end.
bool Runner::can_go_on(const ChildOutcome& outcome) const {
  return dist_ == Dist::kLoad && !program_.has_fixture_point && outcome.machine_alive &&
         outcome.left.empty();
}

// The next batch of a worker: `tests`, as many as one run of the program can be told.
void Runner::fill_batch(Worker& worker, std::vector<std::size_t> tests, bool by_filter) {
  worker.batch = {};
  worker.batch.id = next_batch_++;
  std::vector<std::string> choice =
      framework_->choose_by_user().value_or(std::vector<std::string>());
  if (by_filter) {
    const std::size_t limit = program_.reads_arguments     ? kMaxArgumentsParameter
                              : program_.has_fixture_point ? kMaxFilterParameter
                                                           : kMaxFilterArgument;
    const auto end = end_of_turn(tests.begin(), tests.end());
    Choice chosen = framework_->choose(list_, {tests.begin(), end}, limit);
    if (worker.makes_point && chosen.taken < tests.size() && options_.gtest.filter == "*" &&
        options_.outer.total == 1) {
      chosen = {.taken = tests.size(),
                .arguments = {"--gtest_filter=" + suite_filter(list_.tests[tests.front()].suite)}};
    }
    worker.rest.assign(tests.begin() + static_cast<std::ptrdiff_t>(chosen.taken), tests.end());
    tests.resize(chosen.taken);
    choice = std::move(chosen.arguments);
    if (program_.reads_arguments) {
      worker.parameters.user[kArgumentsParameter] = fmt::format("{}", fmt::join(choice, "\n"));
    } else if (program_.has_fixture_point) {
      worker.parameters.user[kFilterParameter] =
          choice.front().substr(choice.front().find('=') + 1);
    }
  } else {
    worker.rest.clear();
  }
  worker.batch.tests = std::move(tests);
  const bool asks_for_report =
      framework_->kind() == FrameworkKind::kGoogleTest;  // the others tell all as they run
  if (program_.has_fixture_point) {
    std::string orders = worker.makes_point ? "suite_point " : keeper_ ? "keep_failed " : "";
    orders += options_.skip_teardown ? "skip_teardown " : "";
    if (!orders.empty()) {
      worker.parameters.user[kOrdersParameter] = orders;
    }
    worker.batch.inherited = notes_.inherited;
    worker.batch.report_path = asks_for_report ? guest_report_path(0) : "";
    if (notes_.is_profiled) {
      worker.batch.profiles = guest_profiles("0");
      worker.batch.set_up_profiles = coverage_.has_set_up() ? "" : guest_profiles("set-up");
    }
    return;
  }
  worker.parameters.user.clear();
  worker.batch.report_path = asks_for_report ? guest_report_path(worker.batch.id) : "";
  std::vector<std::string> arguments = framework_->run_arguments(
      {.report_path = worker.batch.report_path, .random_seed = random_seed_});
  arguments.insert(arguments.end(), choice.begin(), choice.end());
  worker.batch.request = request(arguments);
  if (notes_.is_profiled) {
    worker.batch.profiles = guest_profiles(std::to_string(worker.batch.id));
    set_profile_variables(options_.profiles, worker.batch.profiles, worker.batch.request.env);
  }
  if (!by_filter && worker.parameters.shard_count > 1) {
    worker.batch.request.env["GTEST_TOTAL_SHARDS"] = std::to_string(worker.parameters.shard_count);
    worker.batch.request.env["GTEST_SHARD_INDEX"] = std::to_string(worker.parameters.shard_index);
  }
}

}  // namespace spore::gtest_runner
