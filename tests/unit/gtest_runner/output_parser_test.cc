#include "gtest_runner/frameworks/output_parser.h"

#include <gmock/gmock.h>

namespace spore::gtest_runner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TestList list_of(std::vector<std::string> names) {
  TestList list;
  for (std::string& name : names) {
    list.tests.push_back({.suite = "S", .name = std::move(name)});
  }
  return list;
}

constexpr const char* kHead =
    "Running main()\n"
    "Note: Google Test filter = S.*\n"
    "Note: This is test shard 1 of 2.\n"
    "[==========] Running 2 tests from 1 test suite.\n"
    "[----------] Global test environment set-up.\n"
    "environment text\n"
    "[----------] 2 tests from S\n";

TEST(OutputParser, CutsARunIntoTests) {
  const TestList list = list_of({"A", "B"});
  OutputParser parser(list, {0, 1});
  EXPECT_THAT(parser.feed(kHead), IsEmpty());
  EXPECT_TRUE(parser.began());
  EXPECT_EQ(parser.announced(), 2);
  EXPECT_EQ(parser.take_preamble(), "Running main()\n");
  const auto first = parser.feed("[ RUN      ] S.A\ntext[       OK ] S.A (12 ms)\n");
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0].test, 0U);
  EXPECT_EQ(first[0].outcome, Outcome::kPassed);
  EXPECT_EQ(first[0].time_ms, 12);
  EXPECT_EQ(first[0].before, "environment text\n");
  EXPECT_EQ(first[0].output, "text");
  parser.feed_errors("oops");
  const auto second = parser.feed(
      "[ RUN      ] S.B\nf.cc:1: Failure\nbad\n\n"
      "[  FAILED  ] S.B, where GetParam() = a\nb (1 ms) (7 ms)\n"
      "[----------] 2 tests from S (19 ms total)\n\n"
      "tear-down text\n"
      "[----------] Global test environment tear-down\n"
      "[==========] 2 tests from 1 test suite ran. (20 ms total)\n"
      "[  PASSED  ] 1 test.\n[  FAILED  ] 1 test, listed below:\n[  FAILED  ] S.B\n\n"
      " 1 FAILED TEST\n"
      "[  FAILED  ] S: SetUpTestSuite or TearDownTestSuite\n\n 1 FAILED TEST SUITE\n"
      "bye\n");
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].outcome, Outcome::kFailed);
  EXPECT_EQ(second[0].time_ms, 7);
  EXPECT_EQ(second[0].comment, ", where GetParam() = a\nb (1 ms)");
  EXPECT_EQ(second[0].output, "f.cc:1: Failure\nbad\n\n");
  EXPECT_EQ(second[0].errors, "oops");
  EXPECT_TRUE(parser.completed());
  EXPECT_EQ(parser.take_loose(), "tear-down text\n");
  EXPECT_EQ(parser.take_epilogue(), "bye\n");
  EXPECT_THAT(parser.failed_suites(), ElementsAre("S"));
  EXPECT_FALSE(parser.finish("unused"));
}

TEST(OutputParser, TakesTheSameTextByteByByte) {
  const TestList list = list_of({"A", "B"});
  OutputParser parser(list, {0, 1});
  std::vector<TestRecord> records;
  for (const char byte : std::string(kHead) + "[ RUN      ] S.A\n[  SKIPPED ] S.A (0 ms)\n") {
    for (TestRecord& record : parser.feed(std::string_view(&byte, 1))) {
      records.push_back(std::move(record));
    }
  }
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].outcome, Outcome::kSkipped);
}

TEST(OutputParser, IsNotFooledByWhatATestPrints) {
  const TestList list = list_of({"A", "AB", "C"});
  OutputParser parser(list, {0, 1});
  parser.feed(kHead);
  // C belongs to another child, AB begins with A, and tags alone mean nothing.
  EXPECT_THAT(parser.feed("[ RUN      ] S.C\n[ RUN      ] S.A\n[ RUN      ] S.AB\n"
                          "[       OK ] S.AB (0 ms)\n[==========] 2 tests ran.\n"
                          "[       OK ] S.A\n"),
              IsEmpty());
  EXPECT_EQ(parser.running(), 0U);
  EXPECT_EQ(parser.feed("[       OK ] S.A (0 ms)\n").size(), 1U);
  EXPECT_THAT(parser.feed("[ RUN      ] S.A\n"), IsEmpty()) << "a test runs once";
  EXPECT_FALSE(parser.running());
}

TEST(OutputParser, FailsTheTestInWhichTheProgramDied) {
  const TestList list = list_of({"A", "B"});
  OutputParser parser(list, {0, 1});
  parser.feed(kHead);
  parser.feed("[ RUN      ] S.A\nlast wor");
  const auto record = parser.finish("killed by signal 11");
  ASSERT_TRUE(record);
  EXPECT_EQ(record->test, 0U);
  EXPECT_EQ(record->outcome, Outcome::kFailed);
  EXPECT_EQ(record->output, "last wor");
  EXPECT_EQ(record->death, "killed by signal 11");
  EXPECT_FALSE(parser.completed());
}

TEST(OutputParser, ACopyGoesOnWhereTheOriginalStood) {
  const TestList list = list_of({"A", "B"});
  OutputParser parent(list, {0, 1});
  parent.feed(kHead);
  OutputParser child = parent;
  child.expect({1});
  EXPECT_THAT(child.feed("[ RUN      ] S.A\n[       OK ] S.A (0 ms)\n"), IsEmpty());
  EXPECT_EQ(child.feed("[ RUN      ] S.B\n[       OK ] S.B (0 ms)\n").size(), 1U);
}

}  // namespace
}  // namespace spore::gtest_runner
