// Runner's part for --scope=suite. The first worker that has a test of a suite has a machine run
// its SetUpTestSuite, and be captured: that worker's tests and all others of the suite start there.
// A suite that does not come so far is run to its end in that one machine, and reports itself.
#include "suite_points.h"

#include <fmt/format.h>

#include <algorithm>

#include "gtest_runner/clock.h"
#include "runner.h"

namespace spore::gtest_runner {

using Clock = std::chrono::steady_clock;

void Runner::begin_suites() {
  const std::lock_guard lock(mutex_);
  done_.clear();
  left_of_.clear();
  for (const std::size_t test : selection_.to_run) {
    ++left_of_[list_.tests[test].suite];
  }
  suites_with_set_up_.clear();
  for (std::string_view lines = notes_.suites; !lines.empty();) {
    const auto end = lines.find('\n');
    suites_with_set_up_.emplace(lines.substr(0, end));
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
  }
}

Spore& Runner::base_of(const Worker& worker) {
  return worker.point ? *worker.point->spore : *spore_;
}

std::unique_ptr<OutputReader> Runner::reader_of(const Worker& worker) const {
  auto reader = worker.point     ? worker.point->reader->clone()
                : parent_reader_ ? parent_reader_->clone()
                                 : framework_->reader(list_);
  reader->expect(worker.batch.tests);
  return reader;
}

// The first of waiting_ whose suite nobody sets up just now, so that suites are set up side by
// side; mutex_ held.
std::deque<std::size_t>::iterator Runner::first_ready() {
  const auto found = std::find_if(waiting_.begin(), waiting_.end(), [this](std::size_t test) {
    const auto point = points_.find(list_.tests[test].suite);
    return point == points_.end() || !point->second->awaited;
  });
  const auto first = found == waiting_.end() ? waiting_.begin() : found;
  if (first != waiting_.end()) {
    (void)point_of(list_.tests[*first].suite);
  }
  return first;
}

// Null for a suite without a set-up; mutex_ held.
std::shared_ptr<SuitePoint> Runner::point_of(const std::string& suite) {
  if (!suites_with_set_up_.contains(suite)) {
    return nullptr;
  }
  auto& point = points_[suite];
  if (!point) {
    point = std::make_shared<SuitePoint>();
  }
  return point;
}

// `tests` have a record; mutex_ held. A suite whose tests are over needs its machine no more, but
// where all is repeated.
void Runner::note_done(const std::vector<std::size_t>& tests) {
  for (const std::size_t test : tests) {
    const std::string& suite = list_.tests[test].suite;
    if (done_.insert(test).second && --left_of_[suite] == 0 && options_.repeat == 0 &&
        options_.gtest.repeat == 1) {
      points_.erase(suite);
    }
  }
}

// Takes from a worker what other machines have run. False: nothing is left to do for it.
bool Runner::drop_done(Worker& worker) {
  std::vector<std::size_t> tests = worker.batch.tests;
  tests.insert(tests.end(), worker.rest.begin(), worker.rest.end());
  {
    const std::lock_guard lock(mutex_);
    if (std::erase_if(tests, [this](std::size_t test) { return done_.contains(test); }) == 0) {
      return true;
    }
  }
  if (tests.empty()) {
    tests = take_tests();
  }
  if (tests.empty()) {
    return false;
  }
  fill_batch(worker, std::move(tests), true);
  return true;
}

Result<bool> Runner::find_start(Worker& worker, TextReport& report, RunResults& results) {
  worker.point.reset();
  if (options_.scope == Scope::kSession || selection_.to_run.empty()) {
    return true;
  }
  while (!ending_.is_over() && drop_done(worker)) {
    const std::size_t first = worker.batch.tests.front();
    const std::string& suite = list_.tests[first].suite;
    const auto point = [&] {
      const std::lock_guard lock(mutex_);
      return point_of(suite);
    }();
    if (!point) {
      return true;
    }
    const std::lock_guard point_lock(point->mutex);
    if (!point->spore) {
      const bool is_done = [&] {
        const std::lock_guard lock(mutex_);
        return done_.contains(first);
      }();
      if (is_done) {
        continue;
      }
      SPORE_TRY(make_point(worker, *point, suite, report, results));
    }
    if (point->spore) {
      report.suite_set_up(suite, point->printed);
      worker.point = point;
      return true;
    }
  }
  return false;
}

// Runs the SetUpTestSuite of `suite` and captures the machine; or else runs its tests.
Result<void> Runner::make_point(const Worker& worker, SuitePoint& point, const std::string& suite,
                                TextReport& report, RunResults& results) {
  Worker maker;
  maker.index = worker.index;
  maker.makes_point = true;
  maker.parameters = worker.parameters;
  maker.parameters.name = fmt::format("{}-suite", worker.index);
  std::vector<std::size_t> tests;
  {
    const std::lock_guard lock(mutex_);
    for (const std::size_t test : selection_.to_run) {
      if (list_.tests[test].suite == suite && !done_.contains(test)) {
        tests.push_back(test);
      }
    }
  }
  fill_batch(maker, std::move(tests), true);
  const auto start = Clock::now();
  SPORE_ASSIGN(const auto machines, spore_->fork(std::vector{maker.parameters}));
  maker.child = story_.forked(maker.index, iteration_);
  story_.given(maker.child, maker.batch.id);
  ChildSettings settings{.timeout = options_.timeout,
                         .name = fmt::format("the set-up of {}", suite),
                         .ending = ending_};
  settings.until_fixture_point = true;
  auto outcome = run_child(*machines.front(), maker.batch, reader_of(maker), settings, report);
  if (!outcome) {
    return fail(outcome.error());
  }
  if (outcome->reached) {
    point.printed = outcome->reached->take_unfinished();
    report.errors(outcome->reached->take_errors());
    point.reader = std::move(outcome->reached);
    if (notes_.is_profiled) {  // all machines that start behind it would tell it again
      if (const auto taken = take_profiles(*machines.front()); !taken) {
        const std::lock_guard lock(mutex_);
        complaints_.push_back(fmt::format("setting up {}: its coverage did not come home: {}",
                                          suite, taken.error().message()));
      }
    }
    SPORE_ASSIGN(point.spore, machines.front()->capture({}));
  } else {
    if (!outcome->complaint.empty()) {
      outcome->complaint = fmt::format("setting up {}: {}", suite, outcome->complaint);
    }
    after_child(maker, *outcome, report, results);
  }
  story_.retired(maker.child);
  const std::lock_guard lock(mutex_);
  point.awaited = false;
  if (point.spore) {
    ++costs_.suites;
    costs_.suites_s += seconds_since(start);
  }
  return {};
}

// Takes what a program has counted until now out of its machine, so that it is not told again.
Result<void> Runner::take_profiles(Machine& machine) {
  const std::string directory = guest_profiles("0");
  const auto run = [&](const ExecRequest& request, std::string_view name) -> Result<std::string> {
    SPORE_ASSIGN(
        CommandResult done,
        run_command(machine, request, ending_.patience(options_.timeout, kForReport), name));
    if (done.exit.status() != 0) {
      return fail(ErrorCode::kInternal,
                  fmt::format("{} {}: {}", name, describe(done.exit), done.errors));
    }
    return std::move(done.out);
  };
  SPORE_ASSIGN(const std::string archive, run(profile_request(directory), "tar"));
  if (archive.empty()) {
    return {};
  }
  SPORE_TRY(coverage_.take(archive));
  ExecRequest empty;  // clang's runtime has made the directory, and does so once only
  empty.argv = {"find", directory, "-mindepth", "1", "-delete"};
  SPORE_TRY(run(empty, "find"));
  return {};
}

// The worker's first machine, where that is not forked with all others; null when there is nothing
// to do for it.
Result<std::shared_ptr<Machine>> Runner::first_machine(Worker& worker, TextReport& report,
                                                       RunResults& results) {
  SPORE_ASSIGN(const bool has_tests, find_start(worker, report, results));
  if (!has_tests) {
    return std::shared_ptr<Machine>();
  }
  SPORE_ASSIGN(auto machines, fork(std::span(&worker, 1)));
  worker.child = story_.forked(worker.index, iteration_);
  budget_.enter(worker.index, machines.front());
  return std::move(machines.front());
}

}  // namespace spore::gtest_runner
