// A global environment that computes for twenty seconds, and eight tests that need it; it has a
// fixture point. Without a machine it is any GoogleTest program.
#include <gtest/gtest.h>

#include <ctime>

namespace {

constexpr int kSeconds = 20;
bool g_ready = false;

class Environment : public testing::Environment {
  void SetUp() override {
    const std::clock_t end = std::clock() + std::clock_t{kSeconds} * CLOCKS_PER_SEC;
    while (std::clock() < end) {
    }
    g_ready = true;
  }
};
[[maybe_unused]] const auto* const g_environment =
    testing::AddGlobalTestEnvironment(new Environment);

class Global : public testing::TestWithParam<int> {};
TEST_P(Global, IsReady) {
  EXPECT_TRUE(g_ready);
}
INSTANTIATE_TEST_SUITE_P(Eight, Global, testing::Range(0, 8));

}  // namespace
