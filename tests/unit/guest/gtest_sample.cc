// A GoogleTest program with a global environment, for fixture_test.cc.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

namespace {

bool is_set_up = false;

class Environment : public testing::Environment {
 public:
  void SetUp() override {
    ASSERT_EQ(std::getenv("SAMPLE_FAILS"), nullptr) << "the set-up failed";
    if (std::getenv("SAMPLE_PRINTS") != nullptr) {
      std::puts("prepared");
    }
    is_set_up = true;
  }
};

[[maybe_unused]] testing::Environment* const environment =
    testing::AddGlobalTestEnvironment(new Environment);

TEST(Sample, Passes) {
  EXPECT_TRUE(is_set_up);
}
TEST(Sample, PassesToo) {
  EXPECT_TRUE(is_set_up);
}
TEST(Sample, PassesAlso) {
  if (std::getenv("SAMPLE_CRASHES") != nullptr) {
    std::puts("about to crash");
    *static_cast<volatile int*>(nullptr) = 1;
  }
  EXPECT_TRUE(is_set_up);
}

}  // namespace
