#include "child.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "gtest_runner/coverage/coverage.h"
#include "gtest_runner/failures/sanitizer_text.h"
#include "gtest_runner/failures/stack_text.h"
#include "guest_command.h"

namespace spore::gtest_runner {
namespace {

class ChildRun {
 public:
  ChildRun(Machine& machine, const Batch& batch, std::unique_ptr<OutputReader> reader,
           const ChildSettings& settings, TextReport& report)
      : machine_(machine),
        batch_(batch),
        reader_(std::move(reader)),
        parser_(*reader_),
        settings_(settings),
        report_(report),
        left_(batch.tests.begin(), batch.tests.end()) {}

  Result<ChildOutcome> run() {
    SPORE_ASSIGN(const auto process, start());
    read(*process);
    outcome_.ended = std::chrono::steady_clock::now();
    if (outcome_.reached) {
      return std::move(outcome_);
    }
    conclude();
    if (outcome_.machine_alive && parser_.completed() && !batch_.report_path.empty()) {
      fetch_document();
    }
    fetch_profiles(batch_.profiles, outcome_.profiles);
    fetch_profiles(batch_.set_up_profiles, outcome_.set_up_profiles);
    outcome_.left.assign(left_.begin(), left_.end());
    return std::move(outcome_);
  }

 private:
  Result<std::shared_ptr<Process>> start() {
    if (batch_.inherited == 0) {
      return machine_.exec(batch_.request);
    }
    auto process = machine_.process(batch_.inherited);
    if (process == nullptr) {
      return fail(ErrorCode::kInternal,
                  fmt::format("{}: the test program is not in the forked machine", settings_.name));
    }
    return process;
  }

  // Until the program is over; sets death_ to how it ended.
  void read(Process& process) {
    auto deadline = next_deadline();
    std::size_t progress = parser_.progress();
    for (;;) {
      if (enough_ && (!last_ || parser_.running() != last_)) {
        end("The test was ended by spore-test: another failed (--gtest_fail_fast).");
        return;
      }
      const auto event = process.next_event(settings_.ending.patience(time_left(deadline)));
      if (!event || settings_.ending.is_late()) {
        end_at_limit();
        return;
      }
      note_enough();
      if (const auto* output = std::get_if<Output>(&*event)) {
        take(*output);
        if (parser_.progress() != progress) {
          progress = parser_.progress();
          deadline = next_deadline();
        }
      } else if (const auto* exited = std::get_if<Exited>(&*event)) {
        exited_ = *exited;
        death_ = fmt::format("The test program {} while this test ran.", describe(*exited));
        if (exited_->status() != 0 || parser_.running()) {
          note_failure();
        }
        return;
      } else if (const auto* lost = std::get_if<Lost>(&*event)) {
        take_lost(lost->end);
        return;
      } else if (settings_.until_fixture_point) {
        outcome_.reached = std::move(reader_);
        return;
      } else {
        note_failure();
        if (auto released = process.release_fixture_point(); !released) {
          death_ = released.error().message();
          return;
        }
        deadline = next_deadline();
      }
    }
  }

  // Under --gtest_fail_fast the program in which a test failed leaves out the rest by itself; of
  // the others each ends the test that was running then, and is ended.
  void note_enough() {
    if (!enough_ && !test_failed_ && settings_.ending.failed_fast()) {
      enough_ = true;
      last_ = parser_.running();
    }
  }

  void end_at_limit() {
    stopped_ = true;
    outcome_.late = settings_.ending.is_late() || !settings_.timeout;
    const std::string limit =
        outcome_.late ? fmt::format("the {} s of --timeout-all are over.", settings_.ending.limit_s)
                      : fmt::format("no test began or ended within the {} s of --timeout.",
                                    static_cast<double>(settings_.timeout->count()) / 1000);
    end("The test was ended by spore-test: " + limit);
  }

  void end(std::string why) {
    death_ = std::move(why);
    if (stopped_) {
      note_failure();
    }
    machine_.close();
    outcome_.machine_alive = false;
  }

  // The machine as it is now, for each failure that stopped it; else, of a program that cannot stop
  // where it fails, as it is in the end.
  void note_failure() {
    const auto test = parser_.running() ? parser_.running() : first_failed_;
    if (!settings_.on_failure || !test || (exited_ && noted_)) {
      return;
    }
    noted_ = true;
    settings_.on_failure(*test);
  }

  void take(const Output& output) {
    if (output.stream == OutputStream::kStderr) {
      parser_.feed_errors(output.data);
      return;
    }
    for (TestRecord& record : parser_.feed(output.data)) {
      add(std::move(record));
    }
    if (!outcome_.began && (parser_.running() || left_.size() < batch_.tests.size())) {
      outcome_.began = std::chrono::steady_clock::now();
    }
    if (parser_.began() && !preamble_told_) {
      preamble_told_ = true;
      report_.preamble(parser_.take_preamble());
    }
  }

  void take_lost(const MachineEnd& end) {
    outcome_.machine_alive = false;
    outcome_.console_tail = end.console_tail;
    outcome_.lost = fmt::format("{} ({})", to_string(end.reason), end.detail);
    death_ = "The machine was lost: " + outcome_.lost;
    if (!end.console_tail.empty()) {
      death_ += kConsoleHeading + end.console_tail;
    }
  }

  void add(TestRecord record) {
    left_.erase(record.test);
    record.batch = batch_.id;
    if (record.outcome == Outcome::kFailed) {
      test_failed_ = true;
      settings_.ending.failed = true;
      first_failed_ = first_failed_.value_or(record.test);
    }
    report_.add(std::move(record));
  }

  void conclude() {
    const bool in_test = parser_.running().has_value();
    auto record = parser_.finish(death_);
    // What began behind the last test was not to run; that one itself may end as it likes.
    const bool counts = record && (!enough_ || record->death.empty() || record->test == last_);
    if (counts) {
      if (const std::string stack = stack_text(take_stack(record->errors)); !stack.empty()) {
        record->death += "\nIts stack:\n" + stack;
      }
      if (const std::string report = take_sanitizer_report(record->errors); !report.empty()) {
        record->death += "\nWhat its sanitizer says:\n" + report;
      }
      record->stopped = stopped_ && !record->death.empty();
      add(std::move(*record));
    }
    for (const std::string& suite : parser_.failed_suites()) {
      report_.failed_suite(suite);
    }
    outcome_.passed =
        parser_.completed() && exited_ &&
        (exited_->status() == 0 || (!test_failed_ && parser_.accepts(exited_->status())));
    if (const std::string doubt = parser_.doubt(); !doubt.empty()) {
      outcome_.complaint = doubt;
      outcome_.passed = false;
    } else if (parser_.completed()) {
      conclude_complete();
    } else if (batch_.tests.empty() && exited_ && exited_->status() == 0) {
      outcome_.passed = true;  // it has none, and need not ask GoogleTest to run them
    } else if (!in_test && !enough_ && !outcome_.late) {
      outcome_.complaint = exited_ ? fmt::format("its test program {} before its tests were over",
                                                 describe(*exited_))
                                   : death_;
    }
    if (!preamble_told_) {
      report_.preamble(parser_.take_preamble());
    }
    report_.epilogue(parser_.take_loose(), parser_.take_epilogue());
    tell_errors(parser_.take_errors());
  }

  // A program that ended behind its tests, or whose framework told of the signal itself, has left
  // its stack here.
  void tell_errors(std::string errors) {
    if (const std::string stack = stack_text(take_stack(errors)); !stack.empty()) {
      errors += fmt::format("spore-test: the stack of {}'s test program, where it was killed:\n{}",
                            settings_.name, stack);
    }
    report_.errors(errors);
  }

  // The program came to its summary. Tests that it counted but never named were kept from running
  // by a global environment that skips; GoogleTest counts them as passed.
  void conclude_complete() {
    if (parser_.announced() == static_cast<int>(batch_.tests.size())) {
      for (const std::size_t test : std::set<std::size_t>(left_)) {
        TestRecord record;
        record.test = test;
        record.silent = true;
        add(std::move(record));
      }
    }
    const bool blamed = test_failed_ || !parser_.failed_suites().empty();
    if (exited_ && !parser_.accepts(exited_->status()) && !blamed) {
      outcome_.complaint =
          fmt::format("its test program {} although none of its tests failed", describe(*exited_));
    }
  }

  void fetch_document() {
    ExecRequest request;
    request.argv = {"cat", batch_.report_path};
    auto fetched = run_command(machine_, request,
                               settings_.ending.patience(settings_.timeout, kForReport), "cat");
    if (fetched && fetched->exit.status() == 0) {
      outcome_.document = std::move(fetched->out);
    }
  }

  // However the program ended: what it has written counts.
  void fetch_profiles(const std::string& directory, std::string& archive) {
    if (directory.empty() || !outcome_.machine_alive) {
      return;
    }
    auto fetched = run_command(machine_, profile_request(directory),
                               settings_.ending.patience(settings_.timeout, kForReport), "tar");
    if (fetched && fetched->exit.status() == 0) {
      archive = std::move(fetched->out);
    } else if (outcome_.complaint.empty()) {
      outcome_.complaint =
          fmt::format("its coverage did not come home: {}",
                      fetched ? "tar " + describe(fetched->exit) : fetched.error().message());
    }
  }

  using TimePoint = std::chrono::steady_clock::time_point;
  [[nodiscard]] std::optional<TimePoint> next_deadline() const {
    if (!settings_.timeout) {
      return std::nullopt;
    }
    return std::chrono::steady_clock::now() + *settings_.timeout;
  }
  static std::optional<Milliseconds> time_left(std::optional<TimePoint> deadline) {
    if (!deadline) {
      return std::nullopt;
    }
    return std::max(Milliseconds{0}, std::chrono::duration_cast<Milliseconds>(
                                         *deadline - std::chrono::steady_clock::now()));
  }

  Machine& machine_;
  const Batch& batch_;
  std::unique_ptr<OutputReader> reader_;
  OutputReader& parser_;
  const ChildSettings& settings_;
  TextReport& report_;
  std::set<std::size_t> left_;
  ChildOutcome outcome_;
  std::optional<Exited> exited_;
  std::string death_;
  bool test_failed_ = false;
  bool stopped_ = false;             // at a limit
  bool enough_ = false;              // no test is to begin
  std::optional<std::size_t> last_;  // but this one goes on to its end
  std::optional<std::size_t> first_failed_;
  bool noted_ = false;
  bool preamble_told_ = false;
};

}  // namespace

Result<ChildOutcome> run_child(Machine& machine, const Batch& batch,
                               std::unique_ptr<OutputReader> reader, const ChildSettings& settings,
                               TextReport& report) {
  return ChildRun(machine, batch, std::move(reader), settings, report).run();
}

}  // namespace spore::gtest_runner
