// --repeat: what became of each test in many runs from the same state, and which are flaky.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "results.h"

namespace spore::gtest_runner {

class RepeatSummary {
 public:
  // All tests of one run.
  void add(const std::vector<TestRecord>& records);

  // Flaky and failing tests with their rates and what the first failure printed, in the list's
  // order; in GoogleTest's manner, without colors.
  [[nodiscard]] std::string text(const TestList& list) const;

 private:
  struct Tally {
    std::size_t runs = 0;
    std::size_t failed = 0;
    std::size_t first = 0;  // the run that failed first, from 1
    std::string output;     // of that run
  };
  std::map<std::size_t, Tally> tallies_;  // by test
  std::size_t runs_ = 0;
};

}  // namespace spore::gtest_runner
