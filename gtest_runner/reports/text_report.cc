#include "text_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace spore::gtest_runner {
namespace {

std::string countable(std::size_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string with_newline(std::string text) {
  if (!text.empty() && text.back() != '\n') {
    text += '\n';
  }
  return text;
}

}  // namespace

TextReport::TextReport(TextSink& sink, const TestList& list, const Selection& selection,
                       TextStyle style, RunHeading heading)
    : sink_(sink), list_(list), heading_(std::move(heading)), selection_(selection), style_(style) {
  for (const std::size_t test : selection_.to_run) {
    const std::string& suite = list_.tests[test].suite;
    if (suites_[suite].to_run++ == 0) {
      suite_order_.push_back(suite);
    }
  }
}

std::string TextReport::colored(Color color, std::string_view text) const {
  if (!style_.color) {
    return std::string(text);
  }
  return fmt::format("\033[0;3{}m{}\033[m", static_cast<int>(color), text);
}

void TextReport::preamble(const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (said_.insert(text).second) {
    sink_.out(with_newline(text));
  }
  print_heading();
}

void TextReport::print_heading() {
  if (std::exchange(heading_printed_, true) || style_.brief) {
    return;
  }
  std::string text;
  if (heading_.iteration) {
    text += fmt::format("\nRepeating all tests (iteration {}) . . .\n\n", *heading_.iteration + 1);
  }
  if (heading_.filter != "*") {
    text +=
        colored(Color::kYellow, fmt::format("Note: Google Test filter = {}\n", heading_.filter));
  }
  if (heading_.outer_shards > 1) {
    text += colored(Color::kYellow, fmt::format("Note: This is test shard {} of {}.\n",
                                                heading_.outer_shard + 1, heading_.outer_shards));
  }
  if (heading_.shuffle) {
    text += colored(
        Color::kYellow,
        fmt::format("Note: Randomizing tests' orders with a seed of {} .\n", heading_.random_seed));
  }
  text += colored(Color::kGreen, "[==========] ") +
          fmt::format("Running {} from {}.\n", countable(selection_.to_run.size(), "test"),
                      countable(suites_.size(), "test suite"));
  if (!selection_.to_run.empty()) {
    text += colored(Color::kGreen, "[----------] ") + "Global test environment set-up.\n";
  }
  sink_.out(text);
}

void TextReport::suite_set_up(const std::string& suite, const std::string& text) {
  const std::lock_guard lock(mutex_);
  suite_texts_[suite] = with_newline(text);
}

void TextReport::add(TestRecord record) {
  const std::lock_guard lock(mutex_);
  print_heading();
  waiting_.emplace(record.test, std::move(record));
  print_ready();
}

std::vector<std::size_t> TextReport::missing() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::size_t> tests;
  for (std::size_t i = records_.size(); i < selection_.to_run.size(); ++i) {
    if (!waiting_.contains(selection_.to_run[i])) {
      tests.push_back(selection_.to_run[i]);
    }
  }
  return tests;
}

std::vector<TestRecord> TextReport::so_far() const {
  const std::lock_guard lock(mutex_);
  std::vector<TestRecord> records = records_;
  for (const auto& [test, record] : waiting_) {
    records.push_back(record);
  }
  return records;
}

void TextReport::print_ready() {
  while (records_.size() < selection_.to_run.size()) {
    const auto found = waiting_.find(selection_.to_run[records_.size()]);
    if (found == waiting_.end()) {
      return;
    }
    TestRecord record = std::move(found->second);
    waiting_.erase(found);
    print_test(record);
    records_.push_back(std::move(record));
  }
}

void TextReport::begin_suite(const ListedTest& test) {
  if (test.suite == open_suite_) {
    return;
  }
  end_suite();
  open_suite_ = test.suite;
  const auto set_up = suite_texts_.find(test.suite);
  const std::string said = set_up == suite_texts_.end() ? "" : set_up->second;
  if (style_.brief) {
    sink_.out(said);
    return;
  }
  std::string text =
      colored(Color::kGreen, "[----------] ") +
      fmt::format("{} from {}", countable(suites_[test.suite].to_run, "test"), test.suite);
  if (!test.type_param.empty()) {
    text += ", where TypeParam = " + test.type_param;
  }
  sink_.out(text + "\n" + said);
}

void TextReport::end_suite() {
  if (open_suite_.empty()) {
    return;
  }
  std::size_t end = 0;  // one behind the last test of the suite
  for (std::size_t i = 0; i < list_.tests.size(); ++i) {
    end = list_.tests[i].suite == open_suite_ ? i + 1 : end;
  }
  print_disabled_until(end);
  const std::string suite = std::exchange(open_suite_, {});
  if (style_.brief || !style_.print_time) {
    return;
  }
  const SuiteCount& counts = suites_[suite];
  sink_.out(colored(Color::kGreen, "[----------] ") + fmt::format("{} from {} ({} ms total)\n\n",
                                                                  countable(counts.to_run, "test"),
                                                                  suite, counts.time_ms));
}

// The disabled tests of the open suite that come before `test`.
void TextReport::print_disabled_until(std::size_t test) {
  for (; next_reported_ < selection_.reported.size(); ++next_reported_) {
    const std::size_t reported = selection_.reported[next_reported_];
    if (reported >= test) {
      return;
    }
    const ListedTest& listed = list_.tests[reported];
    const bool tells = listed.disabled && !heading_.also_run_disabled && !style_.brief;
    if (tells && listed.suite == open_suite_) {
      sink_.out(colored(Color::kYellow, "[ DISABLED ] ") + listed.full_name() + "\n");
    }
  }
}

void TextReport::print_test(const TestRecord& record) {
  const ListedTest& test = list_.tests[record.test];
  suites_[test.suite].time_ms += record.time_ms;
  if (record.silent || record.outcome == Outcome::kNotRun) {
    return;
  }
  begin_suite(test);
  print_disabled_until(record.test);
  std::string text = with_newline(record.before);
  if (!style_.brief) {
    text += colored(Color::kGreen, "[ RUN      ] ") + test.full_name() + "\n";
  }
  text += record.output;
  if (!record.death.empty()) {
    text = with_newline(std::move(text)) + "unknown file: Failure\n" + record.death + "\n";
  }
  const bool failed = record.outcome == Outcome::kFailed;
  if (failed || !style_.brief) {
    text += record.outcome == Outcome::kPassed    ? colored(Color::kGreen, "[       OK ] ")
            : record.outcome == Outcome::kSkipped ? colored(Color::kGreen, "[  SKIPPED ] ")
                                                  : colored(Color::kRed, "[  FAILED  ] ");
    text += test.full_name();
    text += failed ? record.comment : "";
    text += style_.print_time ? fmt::format(" ({} ms)\n", record.time_ms) : "\n";
  }
  if (!record.errors.empty()) {
    sink_.err(record.errors);
  }
  sink_.out(text);
}

void TextReport::epilogue(const std::string& between, const std::string& after) {
  const std::lock_guard lock(mutex_);
  print_heading();
  if (!between.empty() && said_.insert(between).second) {
    sink_.out(with_newline(between));
  }
  if (!after.empty() && said_.insert(after).second) {
    after_ += with_newline(after);
  }
}

void TextReport::errors(const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (!text.empty()) {
    sink_.err(text);
  }
}

void TextReport::failed_suite(const std::string& suite) {
  const std::lock_guard lock(mutex_);
  failed_suites_.insert(suite);
}

std::size_t TextReport::count(Outcome outcome) const {
  return static_cast<std::size_t>(
      std::count_if(records_.begin(), records_.end(),
                    [&](const TestRecord& record) { return record.outcome == outcome; }));
}

void TextReport::finish(std::int64_t total_ms) {
  const std::lock_guard lock(mutex_);
  print_heading();
  print_ready();
  print_end(total_ms);
  sink_.out(after_);
}

void TextReport::print_end(std::int64_t total_ms) {
  end_suite();
  if (!style_.brief && !selection_.to_run.empty()) {
    sink_.out(colored(Color::kGreen, "[----------] ") + "Global test environment tear-down\n");
  }
  print_summary(total_ms);
}

void TextReport::print_summary(std::int64_t total_ms) {
  std::string text =
      colored(Color::kGreen, "[==========] ") +
      fmt::format("{} from {} ran.", countable(records_.size() - count(Outcome::kNotRun), "test"),
                  countable(suites_.size(), "test suite"));
  text += style_.print_time ? fmt::format(" ({} ms total)\n", total_ms) : "\n";
  text +=
      colored(Color::kGreen, "[  PASSED  ] ") + countable(count(Outcome::kPassed), "test") + ".\n";
  sink_.out(text);
  const bool passed = count(Outcome::kFailed) == 0 && failed_suites_.empty();
  print_failures();
  const auto disabled = static_cast<std::size_t>(
      std::count_if(selection_.reported.begin(), selection_.reported.end(),
                    [&](std::size_t test) { return list_.tests[test].disabled; }));
  if (disabled > 0 && !heading_.also_run_disabled) {
    sink_.out((passed ? "\n" : "") +
              colored(Color::kYellow, fmt::format("  YOU HAVE {} DISABLED {}\n\n", disabled,
                                                  disabled == 1 ? "TEST" : "TESTS")));
  }
}

// The tests that were skipped and that failed, as far as the style names them.
void TextReport::print_failures() {
  std::string text;
  const auto list_names = [&](Outcome outcome, const std::string& tag, bool comment) {
    for (const TestRecord& record : records_) {
      if (record.outcome == outcome) {
        text += tag + list_.tests[record.test].full_name() + (comment ? record.comment : "") + "\n";
      }
    }
  };
  if (const std::size_t skipped = count(Outcome::kSkipped); skipped > 0) {
    const std::string tag = colored(Color::kGreen, "[  SKIPPED ] ");
    text += tag + countable(skipped, "test") + (style_.brief ? ".\n" : ", listed below:\n");
    if (!style_.brief) {
      list_names(Outcome::kSkipped, tag, false);
    }
  }
  if (const std::size_t left_out = count(Outcome::kNotRun); left_out > 0) {
    const std::string tag = colored(Color::kYellow, "[ NOT RUN  ] ");
    text += tag + countable(left_out, "test") + (style_.brief ? ".\n" : ", listed below:\n");
    if (!style_.brief) {
      list_names(Outcome::kNotRun, tag, false);
    }
  }
  const std::size_t failed = count(Outcome::kFailed);
  if (!style_.brief && (failed > 0 || !failed_suites_.empty())) {
    const std::string tag = colored(Color::kRed, "[  FAILED  ] ");
    text += tag + countable(failed, "test") + ", listed below:\n";
    list_names(Outcome::kFailed, tag, true);
    text += fmt::format("\n{:2} FAILED {}\n", failed, failed == 1 ? "TEST" : "TESTS");
    for (const std::string& suite : suite_order_) {
      if (failed_suites_.contains(suite)) {
        text += tag + suite + ": SetUpTestSuite or TearDownTestSuite\n";
      }
    }
    if (!failed_suites_.empty()) {
      text += fmt::format("\n{:2} FAILED TEST {}\n", failed_suites_.size(),
                          failed_suites_.size() == 1 ? "SUITE" : "SUITES");
    }
  }
  sink_.out(text);
}

}  // namespace spore::gtest_runner
