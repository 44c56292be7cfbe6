#include "pace.h"

#include <algorithm>
#include <cmath>

namespace spore::gtest_runner {

void Pace::turned(const Turn& turn) noexcept {
  start_ = turn.start;
  running_ += turn.running;
  tests_ += turn.tests;
}

std::size_t Pace::tests_worth_a_start() const noexcept {
  if (tests_ == 0 || running_ <= Duration{0}) {
    return 1;
  }
  const double each = static_cast<double>(running_.count()) / static_cast<double>(tests_);
  return std::max<std::size_t>(
      1, static_cast<std::size_t>(std::ceil(static_cast<double>(start_.count()) / each)));
}

}  // namespace spore::gtest_runner
