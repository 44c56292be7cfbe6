#include "gtest_runner/run/pace.h"

#include <gtest/gtest.h>

namespace spore::gtest_runner {
namespace {

using std::chrono::milliseconds;

TEST(Pace, TellsHowManyTestsTakeAsLongAsAStart) {
  Pace pace;
  EXPECT_EQ(pace.tests_worth_a_start(), 1u) << "nothing is known";
  pace.turned({.start = milliseconds(2000), .running = milliseconds(100), .tests = 10});
  EXPECT_EQ(pace.tests_worth_a_start(), 200u);
  pace.turned({.start = milliseconds(95), .running = milliseconds(300), .tests = 30});
  EXPECT_EQ(pace.tests_worth_a_start(), 10u) << "the first start of a machine is its slowest";
}

TEST(Pace, KnowsNothingOfTurnsWithoutATest) {
  Pace pace;
  pace.turned({.start = milliseconds(50), .running = milliseconds(1), .tests = 0});
  EXPECT_EQ(pace.tests_worth_a_start(), 1u);
  pace.turned({.start = milliseconds(50), .running = milliseconds(0), .tests = 1});
  EXPECT_EQ(pace.tests_worth_a_start(), 50u);
}

}  // namespace
}  // namespace spore::gtest_runner
