// Runner's second half: the children of one iteration, and what becomes of those that die.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "gtest_runner/clock.h"
#include "runner.h"

namespace spore::gtest_runner {
namespace {

using Clock = std::chrono::steady_clock;

// One run of many: the summary of all is told.
class Silence : public TextSink {
 public:
  void out(std::string_view /*text*/) override {}
  void err(std::string_view /*text*/) override {}
};

bool use_color(const std::string& flag, bool terminal) {
  if (flag == "auto") {
    const char* term = std::getenv("TERM");
    return terminal && term != nullptr && std::string_view(term) != "dumb";
  }
  return flag == "yes" || flag == "true" || flag == "t" || flag == "1";
}

}  // namespace

TextStyle Runner::style() const {
  return {.color = use_color(options_.gtest.color, stdout_is_terminal_),
          .brief = options_.gtest.brief,
          .print_time = options_.gtest.print_time};
}

RunHeading Runner::heading(int iteration) const {
  RunHeading heading{.filter = options_.gtest.filter,
                     .outer_shard = options_.outer.index,
                     .outer_shards = options_.outer.total,
                     .shuffle = options_.gtest.shuffle,
                     .random_seed = random_seed_,
                     .iteration = std::nullopt,
                     .also_run_disabled = options_.gtest.also_run_disabled_tests};
  if (options_.gtest.repeat != 1) {
    heading.iteration = iteration;
  }
  return heading;
}

Result<bool> Runner::run_repeatedly() {
  if (options_.prepare) {
    return true;
  }
  const int count = options_.repeat > 0 ? static_cast<int>(options_.repeat) : options_.gtest.repeat;
  bool passed = true;
  for (int i = 0; count < 0 || i < count; ++i) {
    if (i > 0 && ending_.is_late()) {
      late_ = true;
      passed = false;
      say(fmt::format("the {} s of --timeout-all are over after {} run{} of all tests",
                      ending_.limit_s, i, i == 1 ? "" : "s"));
      break;
    }
    SPORE_ASSIGN(const bool iteration_passed, run_iteration(i));
    passed = passed && iteration_passed;
  }
  if (options_.repeat > 0) {
    sink_.out(repeated_.text(list_));
  }
  return passed;
}

Result<bool> Runner::run_iteration(int iteration) {
  progress_(options_.repeat > 0 ? fmt::format("run {} of {}", iteration + 1, options_.repeat)
                                : "running the tests");
  iteration_ = iteration;
  ending_.failed = false;
  Silence silence;
  TextSink& sink = options_.repeat > 0 ? silence : sink_;
  const auto reported = framework_->report({.sink = sink,
                                            .list = list_,
                                            .selection = selection_,
                                            .style = style(),
                                            .heading = heading(iteration)});
  TextReport& report = *reported;
  if (parent_reader_) {
    report.preamble(parent_reader_->take_preamble());
    report.epilogue(parent_reader_->take_loose(), "");
  }
  RunResults results{.list = &list_,
                     .selection = selection_,
                     .records = {},
                     .reports = {},
                     .program = std::filesystem::path(program_.path).filename(),
                     .listing = notes_.listing,
                     .started_ms = epoch_ms(),
                     .shuffled = options_.gtest.shuffle,
                     .random_seed = random_seed_};
  const auto start = Clock::now();
  begin_suites();
  std::vector<Worker> workers = make_workers();
  if (const auto worked = run_workers(workers, report, results); !worked) {
    story_.ended(report.so_far(), iteration);
    return fail(worked.error());
  }
  leave_out_rest(report);
  costs_.tests_s += seconds_since(start);
  report.finish(static_cast<std::int64_t>(seconds_since(start) * 1000));
  story_.ended(report.records(), iteration);
  if (options_.repeat > 0) {
    repeated_.add(report.records());
  }
  SPORE_TRY(write_report(results, report));
  for (const std::string& complaint : complaints_) {
    say(complaint);
  }
  const bool passed = passed_ && complaints_.empty();
  complaints_.clear();
  passed_ = true;
  if (!program_.has_fixture_point) {
    random_seed_ = random_seed_ % kMaxSeed + 1;
  }
  return passed;
}

Result<void> Runner::run_workers(std::vector<Worker>& workers, TextReport& report,
                                 RunResults& results) {
  if (workers.empty()) {
    return {};
  }
  std::optional<Error> error;
  const auto note = [&](const Error& what) {
    const std::lock_guard lock(mutex_);
    error = what;
  };
  const auto failed = [&] {
    const std::lock_guard lock(mutex_);
    return error.has_value();
  };
  // Within a budget one by one, as there is room; else all at once.
  const bool each_begins = options_.scope == Scope::kSuite;
  const std::size_t at_once = options_.memory_budget || each_begins ? 1 : workers.size();
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < workers.size(); i += at_once) {
      budget_.await_room();
      if (failed() || ending_.is_over()) {
        break;
      }
      if (each_begins && !options_.memory_budget) {
        threads.emplace_back([&, &worker = workers[i]] {
          const auto worked = [&]() -> Result<void> {
            SPORE_ASSIGN(auto machine, first_machine(worker, report, results));
            if (!machine) {
              return {};
            }
            auto done = work(worker, std::move(machine), report, results);
            budget_.leave(worker.index);
            story_.retired(worker.child);
            return done;
          }();
          if (!worked) {
            note(worked.error());
          }
        });
        continue;
      }
      if (each_begins) {
        const auto found = find_start(workers[i], report, results);
        if (!found) {
          note(found.error());
          break;
        }
        if (!*found) {
          continue;
        }
      }
      const auto machines = fork(std::span(workers).subspan(i, at_once));
      if (!machines) {
        note(machines.error());
        break;
      }
      for (std::size_t j = 0; j < at_once; ++j) {
        Worker& worker = workers[i + j];
        worker.child = story_.forked(worker.index, iteration_);
        budget_.enter(worker.index, (*machines)[j]);
        threads.emplace_back([&, machine = std::move((*machines)[j])]() mutable {
          if (const auto worked = work(worker, std::move(machine), report, results); !worked) {
            note(worked.error());
          }
          budget_.leave(worker.index);
          story_.retired(worker.child);
        });
      }
    }
  }
  if (error) {
    return fail(*error);
  }
  return {};
}

Result<std::vector<std::shared_ptr<Machine>>> Runner::fork(std::span<const Worker> workers) {
  std::vector<ForkParameters> parameters;
  for (const Worker& worker : workers) {
    parameters.push_back(worker.parameters);
  }
  const auto start = Clock::now();
  SPORE_ASSIGN(auto forked, base_of(workers.front()).fork(parameters));
  const std::lock_guard lock(mutex_);
  costs_.fork_ms += seconds_since(start) * 1000;
  costs_.children += forked.size();
  for (const auto& machine : forked) {
    costs_.phases.push_back(machine->fork_timings());
  }
  return std::vector<std::shared_ptr<Machine>>(std::make_move_iterator(forked.begin()),
                                               std::make_move_iterator(forked.end()));
}

Result<void> Runner::work(Worker& worker, std::shared_ptr<Machine> machine, TextReport& report,
                          RunResults& results) {
  auto idle_since = Clock::now();
  for (int attempt = 1;; ++attempt) {
    ChildSettings settings{.timeout = options_.timeout,
                           .name = fmt::format("child {}", worker.index),
                           .ending = ending_};
    story_.given(worker.child, worker.batch.id);
    if (keeper_) {
      settings.on_failure = [&](std::size_t test) { keep_failed(*machine, worker.child, test); };
    }
    SPORE_ASSIGN(const ChildOutcome outcome,
                 run_child(*machine, worker.batch, reader_of(worker), settings, report));
    if (outcome.began) {
      const std::lock_guard lock(mutex_);
      pace_.turned({.start = *outcome.began - idle_since,
                    .running = outcome.ended - *outcome.began,
                    .tests = worker.batch.tests.size() - outcome.left.size()});
    }
    idle_since = outcome.ended;
    after_child(worker, outcome, report, results);
    if (ending_.is_over()) {
      worker.rest.clear();
    } else if (worker.rest.empty() && !budget_.should_leave(worker.index)) {
      worker.rest = take_tests();
    }
    const bool goes_on = can_go_on(outcome);
    if (outcome.machine_alive && (worker.rest.empty() || (dist_ != Dist::kEach && !goes_on))) {
      note_costs(*machine, worker.child);
    }
    if (worker.rest.empty()) {
      return {};
    }
    fill_batch(worker, std::vector<std::size_t>(worker.rest), true);
    if (goes_on) {
      continue;
    }
    SPORE_ASSIGN(const bool has_tests, find_start(worker, report, results));
    if (!has_tests) {
      return {};
    }
    SPORE_ASSIGN(machine, renew(worker, *machine, attempt));
    story_.reset(worker.child);
    budget_.enter(worker.index, machine);
  }
}

// Takes what a child tells, and puts what it left undone ahead of the worker's rest.
void Runner::after_child(Worker& worker, const ChildOutcome& outcome, TextReport& report,
                         RunResults& results) {
  std::vector<std::size_t> left = outcome.left;
  const bool stuck =
      !ending_.is_over() && !left.empty() && left.size() == worker.batch.tests.size();
  // A machine that dies at once takes with it what the program had printed, that a test begins,
  // too. Where nothing else can have ended it, the first test is to blame. A program that never
  // comes to its tests would not do better in another child.
  const bool blames_first = stuck && !outcome.machine_alive && !worker.makes_point &&
                            (program_.has_fixture_point || left.size() == 1);
  const auto given_up = blames_first ? left.begin() + 1 : stuck ? left.end() : left.begin();
  for (auto test = left.begin(); test != given_up; ++test) {
    TestRecord record;
    record.test = *test;
    record.outcome = Outcome::kFailed;
    record.comment = list_.tests[*test].comment();
    record.batch = worker.batch.id;
    if (blames_first) {
      record.death = outcome.complaint;
    } else if (outcome.complaint.empty()) {
      record.death = "The test program ended without running this test.";
    } else {
      record.death = fmt::format("This test was not run: {}.", outcome.complaint);
    }
    report.add(std::move(record));
  }
  worker.rest.insert(worker.rest.begin(), given_up, left.end());
  auto taken = coverage_.take_set_up(outcome.set_up_profiles);
  taken = taken ? coverage_.take(outcome.profiles) : std::move(taken);
  const std::lock_guard lock(mutex_);
  std::vector<std::size_t> done = worker.batch.tests;
  std::erase_if(
      done, [&](std::size_t test) { return std::find(given_up, left.end(), test) != left.end(); });
  note_done(done);
  if (worker.makes_point) {
    std::erase_if(waiting_, [this](std::size_t test) { return done_.contains(test); });
  }
  if (!taken) {
    complaints_.push_back(fmt::format("child {}: {}", worker.index, taken.error().message()));
  }
  passed_ = passed_ && outcome.passed && !stuck;
  late_ = late_ || outcome.late;
  ending_.failed = ending_.failed || !outcome.passed;
  if (!outcome.lost.empty()) {
    story_.lost(worker.child, outcome.lost);
  }
  if (!outcome.complaint.empty() && !blames_first) {
    complaints_.push_back(fmt::format("child {}: {}", worker.index, outcome.complaint));
  }
  results.reports.push_back({.batch = worker.batch.id, .document = outcome.document});
  if (!outcome.console_tail.empty() && !options_.console_log.empty()) {
    std::ofstream(options_.console_log, std::ios::app) << outcome.console_tail << "\n";
  }
}

// A machine for the worker's next batch, in what its last one leaves.
Result<std::unique_ptr<Machine>> Runner::renew(Worker& worker, Machine& machine, int attempt) {
  worker.parameters.name = fmt::format("{}-{}", worker.index, attempt + 1);
  const auto start = Clock::now();
  auto renewed = base_of(worker).reset(machine, worker.parameters);
  if (!renewed) {
    return fail(renewed.error().with_context(
        fmt::format("making a machine for the remaining tests of child {}", worker.index)));
  }
  const std::lock_guard lock(mutex_);
  ++costs_.resets;
  costs_.phases.push_back((*renewed)->fork_timings());
  costs_.resets_ms += seconds_since(start) * 1000;
  return renewed;
}

}  // namespace spore::gtest_runner
