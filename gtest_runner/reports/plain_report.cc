#include "plain_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace spore::gtest_runner {

void PlainReport::print_heading() {
  if (std::exchange(heading_printed_, true)) {
    return;
  }
  std::string text;
  if (heading_.iteration) {
    text += fmt::format("Repeating all tests (iteration {})\n", *heading_.iteration + 1);
  }
  if (heading_.filter != "*") {
    text += fmt::format("Of the tests, those that --gtest_filter={} takes\n", heading_.filter);
  }
  if (heading_.outer_shards > 1) {
    text += fmt::format("Shard {} of {}\n", heading_.outer_shard + 1, heading_.outer_shards);
  }
  sink_.out(text);
}

void PlainReport::print_test(const TestRecord& record) {
  std::string text = with_line_end(record.before) + with_line_end(record.output);
  if (!record.death.empty()) {
    text += format_.tell_death(list_.tests[record.test], record.death);
  }
  sink_.err(record.errors);
  sink_.out(text);
}

void PlainReport::print_end(std::int64_t /*total_ms*/) {
  CaseCounts counts;
  const std::size_t not_run = count(Outcome::kNotRun);  // at a limit
  counts.all = records_.size() - not_run;
  counts.failed = count(Outcome::kFailed);
  counts.skipped = count(Outcome::kSkipped);
  counts.expected = static_cast<std::size_t>(
      std::count_if(records_.begin(), records_.end(),
                    [](const TestRecord& record) { return record.expected_failure; }));
  counts.passed = counts.all - counts.failed - counts.skipped - counts.expected;
  std::string text = format_.summary(counts);
  if (not_run > 0) {
    text += fmt::format("[ NOT RUN  ] {} test case{}, listed below:\n", not_run,
                        not_run == 1 ? "" : "s");
  }
  for (const TestRecord& record : records_) {
    if (record.outcome == Outcome::kNotRun) {
      text += "[ NOT RUN  ] " + list_.tests[record.test].full_name() + "\n";
    }
  }
  sink_.out(text);
}

}  // namespace spore::gtest_runner
