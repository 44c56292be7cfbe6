#include "gtest_runner/reports/text_report.h"

#include <gmock/gmock.h>

namespace spore::gtest_runner {
namespace {

class Collected : public TextSink {
 public:
  void out(std::string_view text) override { out_text += text; }
  void err(std::string_view text) override { err_text += text; }
  std::string out_text;
  std::string err_text;
};

TestRecord record_of(std::size_t test, Outcome outcome, std::string output) {
  TestRecord record;
  record.test = test;
  record.outcome = outcome;
  record.time_ms = 1;
  record.output = std::move(output);
  return record;
}

class TextReportTest : public ::testing::Test {
 protected:
  TextReportTest() {
    list_ = parse_test_list(
        "One.\n  A\n  DISABLED_B\n  C\nNone.\n  DISABLED_D\nTwo.  # TypeParam = int\n  E\n");
    selection_ = select_tests(list_, false, 0, 1);
  }
  void add_all(TextReport& report) {
    report.add(record_of(4, Outcome::kSkipped, "f.cc:1: Skipped\n\n"));
    report.preamble("main\n");
    report.preamble("main\n");
    report.add(record_of(2, Outcome::kFailed, "f.cc:1: Failure\nbad\n\n"));
    TestRecord first = record_of(0, Outcome::kPassed, "out\n");
    first.errors = "err\n";
    report.add(first);
    report.finish(9);
  }

  TestList list_;
  Selection selection_;
  Collected sink_;
};

TEST_F(TextReportTest, ReadsLikeOneRunWhateverOrderTheTestsEndIn) {
  TextReport report(sink_, list_, selection_, {}, {});
  report.preamble("main\n");
  add_all(report);
  EXPECT_EQ(sink_.out_text,
            "main\n"
            "[==========] Running 3 tests from 2 test suites.\n"
            "[----------] Global test environment set-up.\n"
            "[----------] 2 tests from One\n"
            "[ RUN      ] One.A\nout\n[       OK ] One.A (1 ms)\n"
            "[ DISABLED ] One.DISABLED_B\n"
            "[ RUN      ] One.C\nf.cc:1: Failure\nbad\n\n[  FAILED  ] One.C (1 ms)\n"
            "[----------] 2 tests from One (2 ms total)\n\n"
            "[----------] 1 test from Two, where TypeParam = int\n"
            "[ RUN      ] Two.E\nf.cc:1: Skipped\n\n[  SKIPPED ] Two.E (1 ms)\n"
            "[----------] 1 test from Two (1 ms total)\n\n"
            "[----------] Global test environment tear-down\n"
            "[==========] 3 tests from 2 test suites ran. (9 ms total)\n"
            "[  PASSED  ] 1 test.\n"
            "[  SKIPPED ] 1 test, listed below:\n[  SKIPPED ] Two.E\n"
            "[  FAILED  ] 1 test, listed below:\n[  FAILED  ] One.C\n\n 1 FAILED TEST\n"
            "  YOU HAVE 2 DISABLED TESTS\n\n");
  EXPECT_EQ(sink_.err_text, "err\n");
}

TEST_F(TextReportTest, BriefTellsOnlyFailures) {
  TextReport report(sink_, list_, selection_, {.brief = true, .print_time = false}, {});
  add_all(report);
  EXPECT_EQ(sink_.out_text,
            "main\nout\n"
            "f.cc:1: Failure\nbad\n\n[  FAILED  ] One.C\n"
            "f.cc:1: Skipped\n\n"
            "[==========] 3 tests from 2 test suites ran.\n"
            "[  PASSED  ] 1 test.\n[  SKIPPED ] 1 test.\n"
            "  YOU HAVE 2 DISABLED TESTS\n\n");
}

TEST_F(TextReportTest, ColoursItsTags) {
  TextReport report(sink_, list_, selection_, {.color = true}, {});
  add_all(report);
  EXPECT_THAT(sink_.out_text, ::testing::HasSubstr("\033[0;31m[  FAILED  ] \033[mOne.C"));
  EXPECT_THAT(sink_.out_text, ::testing::HasSubstr("\033[0;32m[       OK ] \033[mOne.A"));
}

TEST_F(TextReportTest, TellsHowTheProgramDied) {
  TextReport report(sink_, list_, selection_, {}, {});
  TestRecord dead = record_of(0, Outcome::kFailed, "no line break");
  dead.death = "killed";
  report.add(dead);
  EXPECT_THAT(
      sink_.out_text,
      ::testing::EndsWith("[ RUN      ] One.A\nno line break\nunknown file: Failure\nkilled\n"
                          "[  FAILED  ] One.A (1 ms)\n"));
}

TEST_F(TextReportTest, NothingToRunIsARunToo) {
  const Selection nothing;
  TextReport report(sink_, list_, nothing, {}, {.filter = "X*"});
  report.preamble("");
  report.finish(0);
  EXPECT_EQ(sink_.out_text,
            "Note: Google Test filter = X*\n"
            "[==========] Running 0 tests from 0 test suites.\n"
            "[==========] 0 tests from 0 test suites ran. (0 ms total)\n"
            "[  PASSED  ] 0 tests.\n");
}

}  // namespace
}  // namespace spore::gtest_runner
