// A test program for the runner's own tests: linked with code.cc as each sanitizer and each kind of
// coverage compiles it. Which tests can pass depends on that.
#include <gtest/gtest.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <fstream>
#include <string>

#include "code.h"

namespace {

class SetUpOnce : public testing::Environment {
 public:
  void SetUp() override { checked::set_up(); }
  void TearDown() override { checked::tear_down(); }
};
[[maybe_unused]] auto* const g_environment = testing::AddGlobalTestEnvironment(new SetUpOnce);

TEST(Plain, Negative) {
  EXPECT_EQ(checked::sign(-3), -1);
}
TEST(Plain, Positive) {
  EXPECT_EQ(checked::sign(3), 1);
}
TEST(Plain, Sums) {
  EXPECT_EQ(checked::sum_up_to(10), 55);
}
TEST(Plain, SumsOfNothing) {
  EXPECT_EQ(checked::sum_up_to(0), 0);
}
TEST(PlainDeathTest, Exits) {
  EXPECT_EXIT(
      {
        checked::sum_up_to(100);
        std::exit(3);
      },
      testing::ExitedWithCode(3), "");
}

class Shared : public testing::Test {
 public:
  static void SetUpTestSuite() { checked::set_up(); }
};
TEST_F(Shared, First) {
  EXPECT_EQ(checked::sign(0), 0);
}
TEST_F(Shared, Second) {
  EXPECT_EQ(checked::sign(-1), -1);
}

TEST(Wrong, UsesFreedMemory) {
  EXPECT_NE(checked::use_freed_memory(), INT_MIN);
}
TEST(Wrong, Overflows) {
  EXPECT_EQ(checked::overflow(INT_MAX), INT_MIN);
}
TEST(Wrong, Races) {
  EXPECT_GT(checked::race(), 0);
}
TEST(Wrong, Leaks) {
  checked::leak();
}

// The working directory is the host's, and a file of it is found by a relative path.
TEST(Place, ReadsAFileOfTheWorkingDirectory) {
  std::ifstream file("testdata/value");
  std::string value;
  file >> value;
  EXPECT_EQ(value, "from-the-host");
}

}  // namespace
