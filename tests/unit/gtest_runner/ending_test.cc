// What ends a run before its tests are over: --gtest_fail_fast and --timeout-all.
#include "unit/gtest_runner/runner_harness.h"

namespace spore::gtest_runner {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr Dist kAll[] = {Dist::kLoad, Dist::kShard, Dist::kEach};

class FailFast : public RunnerTest, public ::testing::WithParamInterface<Dist> {
 protected:
  FailFast() {
    options_.dist = GetParam();
    options_.gtest.fail_fast = true;
    options_.gtest.rest = {"--gtest_fail_fast"};
  }
};

// One child has an order: that of the program.
TEST_P(FailFast, IsGoogleTestsOwnInOneChild) {
  options_.shards = 1;
  for (const char* format : {"xml", "json"}) {
    const std::string merged = fmt::format("{}/merged.{}", directory_, format);
    const std::string plain = fmt::format("{}/plain.{}", directory_, format);
    options_.gtest.output = fmt::format("{}:{}", format, merged);
    sink_.out_text.clear();
    ASSERT_EQ(run("runner_subject_mixed").value(), 1);
    run_plainly("runner_subject_mixed",
                fmt::format("--gtest_fail_fast --gtest_output={}:{}", format, plain));
    if (std::string_view(format) == "xml") {
      EXPECT_EQ(timeless_xml(merged), timeless_xml(plain));
    } else {
      EXPECT_EQ(timeless_json(nlohmann::json::parse(slurp(merged))),
                timeless_json(nlohmann::json::parse(slurp(plain))));
    }
    EXPECT_THAT(sink_.out_text, HasSubstr(": Skipped\n\n[  SKIPPED ] Shared.Second (0 ms)\n"));
    EXPECT_THAT(sink_.out_text, HasSubstr("[  PASSED  ] 2 tests.\n[  SKIPPED ] 12 tests, listed"));
  }
}

TEST_P(FailFast, LetsNoTestBeginInAnyChild) {
  options_.shards = 2;
  options_.env["SUBJECT_MEETING"] = directory_;
  // In turns: Fails and GoesOn at once, then what is left.
  options_.gtest.filter = GetParam() == Dist::kLoad ? "Enough.*" : "*";
  sink_.on_text = [this] {
    if (sink_.out_text.find("[  FAILED  ] Enough.Fails (") != std::string::npos) {
      std::ofstream(directory_ + "/failed") << "yes";
    }
  };
  const auto status = run("runner_subject_enough");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  EXPECT_THAT(sink_.out_text,
              AllOf(HasSubstr("[       OK ] Enough.GoesOn ("),
                    HasSubstr("[  SKIPPED ] Enough.Never (0 ms)\n"),
                    HasSubstr("[  PASSED  ] 1 test.\n"), HasSubstr("\n 1 FAILED TEST\n")));
  EXPECT_EQ(count(sink_.out_text, "[  SKIPPED ] Late.Never (0 ms)\n"),
            GetParam() == Dist::kLoad ? 0U : 1U);
  EXPECT_THAT(sink_.err_text, Not(HasSubstr("child"))) << "nothing is wrong with a child";
}

TEST_P(FailFast, HidesNoCrashOfATestThatRanOn) {
  options_.shards = 2;
  options_.env["SUBJECT_MEETING"] = directory_;
  options_.env["SUBJECT_ABORTS"] = "1";
  options_.gtest.filter = "Enough.*";
  sink_.on_text = [this] {
    if (sink_.out_text.find("[  FAILED  ] Enough.Fails (") != std::string::npos) {
      std::ofstream(directory_ + "/failed") << "yes";
    }
  };
  EXPECT_EQ(run("runner_subject_enough").value(), 1);
  EXPECT_THAT(sink_.out_text,
              AllOf(HasSubstr("killed by signal 6 (Aborted) while this test ran."),
                    HasSubstr("[  FAILED  ] Enough.GoesOn ("), HasSubstr("\n 2 FAILED TESTS\n")));
}

INSTANTIATE_TEST_SUITE_P(Modes, FailFast, ::testing::ValuesIn(kAll));

TEST_F(RunnerTest, ALimitOfAllEndsWhatRunsAndBeginsNothing) {
  options_.timeout_all = std::chrono::seconds(12);
  options_.shards = 1;
  options_.gtest.filter = "Dying.A:Hanging.*";
  options_.gtest.output = fmt::format("xml:{}/merged.xml", directory_);
  options_.json = directory_ + "/run.json";
  options_.html = directory_ + "/page.html";
  const auto status = run("runner_subject_dying");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  EXPECT_THAT(sink_.out_text,
              AllOf(HasSubstr("[       OK ] Dying.A"),
                    HasSubstr("ended by spore-test: the 12 s of --timeout-all are over.\n"),
                    HasSubstr("[  FAILED  ] Hanging.G ("), Not(HasSubstr("RUN      ] Hanging.H")),
                    HasSubstr("[==========] 2 tests from 2 test suites ran."),
                    HasSubstr("[ NOT RUN  ] 1 test, listed below:\n[ NOT RUN  ] Hanging.H\n")));
  EXPECT_THAT(sink_.err_text,
              HasSubstr("the 12 s of --timeout-all are over: 1 test was not run\n"));
  pugi::xml_document merged;
  ASSERT_TRUE(merged.load_file((directory_ + "/merged.xml").c_str()));
  const auto suite = merged.child("testsuites").find_child_by_attribute("name", "Hanging");
  EXPECT_STREQ(suite.find_child_by_attribute("name", "H").attribute("status").value(), "notrun");
  const auto json = nlohmann::json::parse(slurp(options_.json));
  EXPECT_EQ(json["status"], "timed out");
  EXPECT_EQ(json["counts"]["failed"], 1);
  EXPECT_EQ(json["counts"]["not_run"], 1);
  EXPECT_EQ(json["tests"][2]["outcome"], "not_run");
  EXPECT_FALSE(json["tests"][2].contains("child"));
  EXPECT_THAT(slurp(options_.html), HasSubstr("<dd>1</dd><dt>not run</dt>"));
}

TEST_F(RunnerTest, ALimitThatIsOverBeforeTheTestsIsAnError) {
  options_.timeout_all = std::chrono::milliseconds(200);
  options_.setup = "sleep 1000";
  options_.json = directory_ + "/run.json";
  const auto status = run("runner_subject_mixed");
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message(),
              HasSubstr("the 0.2 s of --timeout-all were over before its tests began"));
  const auto json = nlohmann::json::parse(slurp(options_.json));
  EXPECT_EQ(json["status"], "error");
  EXPECT_EQ(json["exit_status"], 125);
  EXPECT_EQ(json["error"], status.error().message());
}

}  // namespace
}  // namespace spore::gtest_runner
