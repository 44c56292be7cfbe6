// Runner with programs that sanitizers watch: the report of one belongs to the test that it ended.
#include "gtest_runner/failures/sanitizer_text.h"

#include "unit/gtest_runner/runner_harness.h"

namespace spore::gtest_runner {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

struct Wrong {
  const char* program;
  const char* test;
  const char* report;
};

class SanitizersTest : public RunnerTest {
 protected:
  Result<int> run_checked(const std::string& variant, const std::string& filter) {
    options_.gtest.filter = filter;
    options_.shards = 1;
    return run(fmt::format("{}/{}", SPORE_CHECKED, variant));
  }
};
class ReportTest : public SanitizersTest, public ::testing::WithParamInterface<Wrong> {};

TEST_P(ReportTest, IsTheFailureOfItsTestAndTheOthersRun) {
  const Wrong& wrong = GetParam();
  if (checked(wrong.program).empty()) {
    GTEST_SKIP() << "not in this build";
  }
  const std::string report = directory_ + "/report.xml";
  options_.gtest.output = "xml:" + report;
  ASSERT_EQ(run_checked(wrong.program, fmt::format("Plain.*:{}:Place.*", wrong.test)).value(), 1);
  EXPECT_EQ(count(sink_.out_text, "[       OK ] Plain."), 4U) << sink_.out_text;
  EXPECT_EQ(count(sink_.out_text, "[ RUN      ] Place."), 1U) << "behind the failed one";
  EXPECT_EQ(count(sink_.out_text, fmt::format("[  FAILED  ] {} (", wrong.test)), 1U);
  EXPECT_EQ(count(sink_.out_text, wrong.report), 1U) << sink_.out_text;
  EXPECT_THAT(sink_.err_text, Not(HasSubstr(wrong.report)));
  EXPECT_THAT(slurp(report), HasSubstr(wrong.report));
}

INSTANTIATE_TEST_SUITE_P(Sanitizers, ReportTest,
                         ::testing::Values(Wrong{"address", "Wrong.UsesFreedMemory",
                                                 "ERROR: AddressSanitizer: heap-use-after-free"},
                                           Wrong{"thread", "Wrong.Races",
                                                 "WARNING: ThreadSanitizer: data race"},
                                           Wrong{"undefined", "Wrong.Overflows",
                                                 "runtime error: signed integer overflow"}),
                         [](const auto& info) { return std::string(info.param.program); });

TEST_F(SanitizersTest, ItsOptionsAreTheUsers) {
  if (checked("undefined").empty()) {
    GTEST_SKIP() << "not in this build";
  }
  options_.gtest.env["UBSAN_OPTIONS"] = "halt_on_error=0";
  ASSERT_EQ(run_checked("undefined", "Wrong.Overflows").value(), 0);
  EXPECT_THAT(sink_.err_text, HasSubstr("runtime error: signed integer overflow"));
}

TEST_F(SanitizersTest, ALeakThatIsFoundAtTheEndFailsTheRun) {
  if (checked("address").empty()) {
    GTEST_SKIP() << "not in this build";
  }
  ASSERT_EQ(run_checked("address", "Plain.*:Wrong.Leaks").value(), 1);
  EXPECT_THAT(sink_.out_text, HasSubstr("[  PASSED  ] 5 tests."));
  EXPECT_THAT(sink_.err_text, HasSubstr("LeakSanitizer: detected memory leaks"));
  EXPECT_THAT(sink_.err_text,
              HasSubstr("child 0: its test program exited with status 1 although none of its "
                        "tests failed"));
}

TEST(SanitizerText, IsTakenFromTheFirstReportOn) {
  std::string errors =
      "a line\n=================\n==7==ERROR: AddressSanitizer: SEGV on unknown address\n"
      "    #0 0x1 in f a.cc:3\n\n";
  EXPECT_EQ(take_sanitizer_report(errors),
            "=================\n==7==ERROR: AddressSanitizer: SEGV on unknown address\n"
            "    #0 0x1 in f a.cc:3");
  EXPECT_EQ(errors, "a line\n");
}

TEST(SanitizerText, OtherTextStays) {
  const std::string text = "====\nERROR: no connection\nWARNING: late\nAddressSanitizer is on\n";
  std::string errors = text;
  EXPECT_THAT(take_sanitizer_report(errors), IsEmpty());
  EXPECT_EQ(errors, text);
}

}  // namespace
}  // namespace spore::gtest_runner
