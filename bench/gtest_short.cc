// 1,000 tests that compute for ten milliseconds each, as any GoogleTest program is linked.
#include <gtest/gtest.h>

#include <ctime>

namespace {

constexpr double kSeconds = 0.01;

class Short : public testing::TestWithParam<int> {};
TEST_P(Short, Computes) {
  const std::clock_t end = std::clock() + static_cast<std::clock_t>(kSeconds * CLOCKS_PER_SEC);
  while (std::clock() < end) {
  }
  EXPECT_GE(GetParam(), 0);
}
INSTANTIATE_TEST_SUITE_P(Thousand, Short, testing::Range(0, 1000));

}  // namespace
