#include "repeat_summary.h"

#include <fmt/format.h>

namespace spore::gtest_runner {
namespace {

std::string all_output(const TestRecord& record) {
  std::string text;
  for (const std::string* part : {&record.before, &record.output, &record.errors, &record.death}) {
    text += *part;
    if (!text.empty() && !text.ends_with('\n')) {
      text += '\n';
    }
  }
  return text;
}

std::string plural(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace

void RepeatSummary::add(const std::vector<TestRecord>& records) {
  ++runs_;
  for (const TestRecord& record : records) {
    Tally& tally = tallies_[record.test];
    if (record.outcome == Outcome::kNotRun) {
      continue;  // --timeout-all ended this run
    }
    ++tally.runs;
    if (record.outcome == Outcome::kFailed && ++tally.failed == 1) {
      tally.first = runs_;
      tally.output = all_output(record);
    }
  }
}

std::string RepeatSummary::text(const TestList& list) const {
  std::string text = fmt::format("[==========] {} of {}, each in a clean machine.\n",
                                 plural(runs_, "run"), plural(tallies_.size(), "test"));
  std::size_t passed = 0;
  std::size_t flaky = 0;
  std::size_t failing = 0;
  for (const auto& [test, tally] : tallies_) {
    const std::string name = list.tests[test].full_name();
    if (tally.runs == 0) {
      continue;
    }
    if (tally.failed == 0) {
      ++passed;
    } else if (tally.failed == tally.runs) {
      ++failing;
      text += fmt::format("[  FAILED  ] {} failed in every run:\n{}", name, tally.output);
    } else {
      ++flaky;
      const double rate = static_cast<double>(tally.failed) / static_cast<double>(tally.runs);
      text += fmt::format("[  FLAKY   ] {} failed in {} of {} ({:.3g}%), first in run {}:\n{}",
                          name, tally.failed, plural(tally.runs, "run"), rate * 100, tally.first,
                          tally.output);
    }
  }
  text += fmt::format("[  PASSED  ] {} in every run.\n", plural(passed, "test"));
  if (flaky + failing > 0) {
    text += fmt::format("[  FAILED  ] {} in every run, {} in some.\n", plural(failing, "test"),
                        plural(flaky, "test"));
  }
  return text;
}

}  // namespace spore::gtest_runner
