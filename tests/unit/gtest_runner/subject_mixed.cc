// A test program with every kind of outcome and of test, for the runner's own tests.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

namespace {

class Environment : public testing::Environment {
  void SetUp() override { std::printf("environment is up\n"); }
};
[[maybe_unused]] const auto* const kEnvironment =
    testing::AddGlobalTestEnvironment(new Environment);

TEST(Plain, Passes) {
  std::printf("no line break");
}
TEST(Plain, Fails) {
  EXPECT_EQ(1, 2) << "Grüße <&]]> \"quoted\"";
}
TEST(Plain, DISABLED_Never) {
  FAIL();
}
TEST(Plain, Skips) {
  GTEST_SKIP() << "not today";
}
TEST(Plain, RecordsProperties) {
  RecordProperty("colour", "grün & <blue>");
  std::fprintf(stderr, "said on stderr\n");
}
TEST(Plain, PrintsWhatLooksLikeResults) {
  std::printf(
      "[       OK ] Plain.Fails (0 ms)\n[ RUN      ] Plain.Skips\n[==========] 1 test ran.\n");
}

// Fails once in four runs that share a file.
TEST(Flaky, ByACounter) {
  const char* path = std::getenv("SUBJECT_COUNTER");
  if (path != nullptr) {
    int counter = 0;
    std::ifstream(path) >> counter;
    std::ofstream(path) << ++counter;
    EXPECT_NE(counter, 3) << "the counter is " << counter;
  }
}

TEST(PlainDeathTest, Dies) {
  EXPECT_DEATH(std::abort(), "");
}

TEST(DISABLED_Suite, Never) {
  FAIL();
}

class Valued : public testing::TestWithParam<std::string> {};
TEST_P(Valued, IsShort) {
  EXPECT_LT(GetParam().size(), 4U);
}
INSTANTIATE_TEST_SUITE_P(Words, Valued, testing::Values("one", "a # (2 ms)", "zw\xc3\xb6lf"));

template <typename T>
class Typed : public testing::Test {};
using Types = testing::Types<int, char, std::string>;
TYPED_TEST_SUITE(Typed, Types);
TYPED_TEST(Typed, IsSmall) {
  EXPECT_LE(sizeof(TypeParam), sizeof(int));
}

class Shared : public testing::Test {
 protected:
  static void SetUpTestSuite() { std::printf("suite is up\n"); }
};
TEST_F(Shared, First) {}
TEST_F(Shared, Second) {}

}  // namespace
