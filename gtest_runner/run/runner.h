// The whole of a spore-test run on an open session: boot, list, set up, capture, fork, run, merge.
// Knows nothing of terminals, signals and images, so that it runs on any Session.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "child.h"
#include "ending.h"
#include "gtest_runner/coverage/coverage.h"
#include "gtest_runner/failures/failure_keeper.h"
#include "gtest_runner/frameworks/framework.h"
#include "gtest_runner/options.h"
#include "gtest_runner/program.h"
#include "gtest_runner/reports/output_file.h"
#include "gtest_runner/reports/repeat_summary.h"
#include "gtest_runner/reports/story.h"
#include "gtest_runner/reports/text_report.h"
#include "guest_command.h"
#include "memory_budget.h"
#include "pace.h"
#include "spore/session.h"
#include "suite_points.h"
#include "warm_start.h"

namespace spore::gtest_runner {

// GoogleTest's seeds are 1 to this.
inline constexpr int kMaxSeed = 99999;

class Runner {
 public:
  // `images`: the root images. `stdout_is_terminal` decides about --gtest_color=auto.
  Runner(Session& session, const Options& options, const Program& program,
         std::vector<std::string> images, TextSink& sink, bool stdout_is_terminal,
         std::function<void(std::string_view)> progress);

  // Looks for a machine that was kept under `key`, and keeps one under it; without a key, neither.
  void start_warm(KeptParts key) { key_ = std::move(key); }
  // The run began before this was made: for --timeout-all and the reports.
  void began(std::chrono::steady_clock::time_point when) {
    began_ = when;
    story_.began(when, "preparation");
  }

  // The exit status: 0, 1, or that of a program that only listed its tests or gave help.
  Result<int> run();
  [[nodiscard]] const RunCosts& costs() const noexcept { return costs_; }

 private:
  struct Worker {
    std::size_t index = 0;
    std::size_t child = 0;  // in the story
    Batch batch;
    std::vector<std::size_t> rest;  // tests that come after the batch, in machines of their own
    ForkParameters parameters;
    std::shared_ptr<SuitePoint> point;  // where the batch starts; null: at the session's
    bool makes_point = false;
  };

  Result<int> run_all();
  Result<void> boot();
  void look_for_kept();
  Result<void> go_on_from(std::shared_ptr<KeptMachine> kept);
  Result<std::optional<int>> list_tests();
  Result<std::optional<int>> choose_framework();
  Result<std::string> ask_for_help();
  void take_framework_options();
  Result<std::optional<int>> start();
  void start_again();
  void tell_changes();
  Result<void> keep();
  Result<std::optional<int>> nothing_listed(const CommandResult& listed);
  Result<int> run_whole(const CommandResult& listed);
  [[nodiscard]] ExecRequest whole_request(const std::string& report_path) const;
  Result<std::optional<Exited>> watch_whole(const ExecRequest& whole);
  Result<int> pass_through();
  Result<void> set_up();
  Result<std::optional<int>> reach_fixture_point();
  Result<void> capture();
  Result<bool> run_repeatedly();
  Result<bool> run_iteration(int iteration);
  Result<void> run_workers(std::vector<Worker>& workers, TextReport& report, RunResults& results);
  Result<std::vector<std::shared_ptr<Machine>>> fork(std::span<const Worker> workers);
  Result<void> work(Worker& worker, std::shared_ptr<Machine> machine, TextReport& report,
                    RunResults& results);
  Result<std::unique_ptr<Machine>> renew(Worker& worker, Machine& machine, int attempt);
  // --scope=suite (suite_points.cc)
  void begin_suites();
  [[nodiscard]] Spore& base_of(const Worker& worker);
  [[nodiscard]] std::unique_ptr<OutputReader> reader_of(const Worker& worker) const;
  std::deque<std::size_t>::iterator first_ready();
  // How many of these tests one machine can run: those of one suite.
  template <typename Iterator>
  [[nodiscard]] Iterator end_of_turn(Iterator first, Iterator last) const {
    return options_.scope == Scope::kSession
               ? last
               : std::find_if(first, last, [&](std::size_t test) {
                   return list_.tests[test].suite != list_.tests[*first].suite;
                 });
  }
  std::shared_ptr<SuitePoint> point_of(const std::string& suite);
  void note_done(const std::vector<std::size_t>& tests);
  bool drop_done(Worker& worker);
  // Sets where the worker's batch starts. False: other machines have done all that was left.
  Result<bool> find_start(Worker& worker, TextReport& report, RunResults& results);
  Result<void> make_point(const Worker& worker, SuitePoint& point, const std::string& suite,
                          TextReport& report, RunResults& results);
  Result<void> take_profiles(Machine& machine);
  Result<std::shared_ptr<Machine>> first_machine(Worker& worker, TextReport& report,
                                                 RunResults& results);
  // The next tests that no worker has had; none if every worker has its part already.
  std::vector<std::size_t> take_tests();
  [[nodiscard]] bool can_go_on(const ChildOutcome& outcome) const;
  Result<void> write_report(RunResults& results, const TextReport& report);
  Result<void> write_own_reports(const Result<int>& status) const;
  void leave_out_rest(TextReport& report);

  std::vector<Worker> make_workers();
  void fill_batch(Worker& worker, std::vector<std::size_t> tests, bool by_filter);
  void after_child(Worker& worker, const ChildOutcome& outcome, TextReport& report,
                   RunResults& results);
  void note_costs(Machine& machine, std::size_t child);
  void keep_failed(Machine& machine, std::size_t child, std::size_t test);
  void say(const std::string& text) const;
  [[nodiscard]] std::map<std::string, std::string> environment() const;
  [[nodiscard]] ExecRequest request(const std::vector<std::string>& arguments) const;
  [[nodiscard]] std::string guest_report_path(std::size_t batch) const;
  [[nodiscard]] std::string guest_profiles(std::string_view of) const;
  [[nodiscard]] RunHeading heading(int iteration) const;
  [[nodiscard]] TextStyle style() const;

  Session& session_;
  const Options& options_;
  const Program& program_;
  const Dist dist_;
  const std::vector<std::string> images_;
  TextSink& sink_;
  const bool stdout_is_terminal_;
  const std::function<void(std::string_view)> progress_;

  std::unique_ptr<Machine> parent_;
  std::shared_ptr<Spore> spore_;
  KeptParts key_;
  std::shared_ptr<KeptMachine> kept_;  // that this run went on from
  StartNotes notes_;
  std::vector<std::string> changed_;  // since the last run's machine
  TestList list_;
  Selection selection_;
  std::optional<OutputFile> output_;
  std::unique_ptr<Framework> framework_;
  std::unique_ptr<OutputReader> parent_reader_;  // of a program at its fixture point
  int random_seed_ = 0;
  RepeatSummary repeated_;
  std::optional<FailureKeeper> keeper_;
  std::atomic<std::size_t> next_batch_{1};
  MemoryBudget budget_;
  Coverage coverage_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  Story story_;
  Ending ending_;
  int iteration_ = 0;

  std::mutex mutex_;  // guards what follows, and the RunResults of an iteration
  std::vector<std::string> complaints_;
  std::set<std::size_t> kept_tests_;
  bool late_ = false;                // --timeout-all ended a child, or kept tests from running
  bool passed_ = true;               // all children of this iteration so far
  std::deque<std::size_t> waiting_;  // tests that no worker has had
  Pace pace_;
  std::set<std::string> suites_with_set_up_;
  std::map<std::string, std::shared_ptr<SuitePoint>> points_;  // by suite
  std::set<std::size_t> done_;                                 // tests that have a record
  std::map<std::string, std::size_t> left_of_;                 // tests of a suite that have none
  RunCosts costs_;
};

}  // namespace spore::gtest_runner
