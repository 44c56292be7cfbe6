// Programs that fail when they are asked for their tests.
#include "unit/gtest_runner/runner_harness.h"

namespace spore::gtest_runner {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kProgram = "runner_subject_whole";

class Whole : public RunnerTest, public ::testing::WithParamInterface<Dist> {
 protected:
  Whole() { options_.dist = GetParam(); }
};

TEST_P(Whole, RunsOnceAndReportsAsOnThisHost) {
  for (const char* format : {"xml", "json"}) {
    const std::string ours = fmt::format("{}/ours.{}", directory_, format);
    const std::string plain = fmt::format("{}/plain.{}", directory_, format);
    options_.gtest.output = fmt::format("{}:{}", format, ours);
    sink_.out_text.clear();
    sink_.err_text.clear();
    ASSERT_EQ(run(kProgram).value(), 1);
    run_plainly(kProgram, fmt::format("--gtest_output={}:{}", format, plain));
    if (std::string_view(format) == "xml") {
      EXPECT_EQ(timeless_xml(ours), timeless_xml(plain));
    } else {
      EXPECT_EQ(timeless_json(nlohmann::json::parse(slurp(ours))),
                timeless_json(nlohmann::json::parse(slurp(plain))));
    }
  }
  EXPECT_THAT(sink_.err_text, HasSubstr("runner_subject_whole exited with status 3 when it was "
                                        "asked for its tests: all run in one machine\n"));
  EXPECT_EQ(count(sink_.out_text, "[ RUN      ] Whole.Passes\n"), 1u);
  EXPECT_THAT(sink_.out_text, HasSubstr("[  PASSED  ] 2 tests.\n"));
  EXPECT_TRUE(session_.log().forked.empty());
}

INSTANTIATE_TEST_SUITE_P(Modes, Whole, ::testing::Values(Dist::kLoad, Dist::kShard, Dist::kEach));

class WholeRun : public RunnerTest {};

TEST_F(WholeRun, IsGivenTheFlags) {
  options_.gtest.filter = "*.Passes";
  options_.gtest.repeat = 2;
  options_.gtest.brief = true;
  ASSERT_EQ(run(kProgram).value(), 0);
  EXPECT_EQ(count(sink_.out_text, "[  PASSED  ] 1 test.\n"), 2u);
  EXPECT_THAT(sink_.out_text, Not(HasSubstr("[ RUN")));
}

TEST_F(WholeRun, IsOneShardOfTheOuterOnes) {
  options_.outer = {.total = 2, .index = 1};
  ASSERT_EQ(run(kProgram).value(), 1);
  EXPECT_THAT(sink_.out_text, AllOf(HasSubstr("[ RUN      ] Whole.Fails\n"),
                                    Not(HasSubstr("[ RUN      ] Whole.Passes\n"))));
}

TEST_F(WholeRun, TellsHowItWasKilledAndLeavesNoReport) {
  options_.env["SUBJECT_END"] = "abort";
  options_.gtest.output = fmt::format("xml:{}/report.xml", directory_);
  ASSERT_EQ(run(kProgram).value(), 134);
  EXPECT_THAT(sink_.out_text, HasSubstr("[ RUN      ] Whole.EndsAsItIsTold\n"));
  EXPECT_THAT(sink_.err_text, AllOf(HasSubstr("runner_subject_whole was killed by signal 6 "
                                              "(Aborted); its stack:\n"),
                                    Not(HasSubstr("spore-stack:"))));
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/report.xml")) << "that of the listing";
}

TEST_F(WholeRun, IsEndedWhenItSaysNothingForTooLong) {
  options_.env["SUBJECT_END"] = "never";
  options_.timeout = Milliseconds(4000);
  const auto status = run(kProgram);
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  EXPECT_THAT(sink_.err_text,
              HasSubstr(" was ended: it printed nothing within the 4 s of --timeout\n"));
}

TEST_F(WholeRun, IsEndedWithTheWholeRun) {
  options_.env["SUBJECT_END"] = "never";
  options_.timeout_all = Milliseconds(6000);
  const auto status = run(kProgram);
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  EXPECT_THAT(sink_.err_text, HasSubstr("the 6 s of --timeout-all are over: "));
}

TEST_F(WholeRun, ToldWhyAsItHappens) {
  sink_.on_text = [this] {
    if (count(sink_.err_text, "a test says\n") == 1) {
      std::ofstream(directory_ + "/heard") << "yes";
    }
  };
  options_.env["SUBJECT_END"] = directory_ + "/heard";
  options_.timeout = Milliseconds(20000);
  ASSERT_EQ(run(kProgram).value(), 1);
  EXPECT_EQ(count(sink_.err_text, "no test ran\n"), 1u) << "of the listing";
}

TEST_F(WholeRun, ToldWithoutTheStackOfTheListing) {
  options_.env["SUBJECT_LISTS_WITH_ABORT"] = "1";
  ASSERT_EQ(run(kProgram).value(), 1);
  EXPECT_THAT(sink_.err_text, HasSubstr("killed by signal 6 (Aborted) when it was asked for its"));
  EXPECT_THAT(sink_.err_text, Not(HasSubstr("spore-stack:")));
}

TEST_F(WholeRun, CoverageComesHomeThoughTheListingHadNone) {
  if (!std::filesystem::exists(path_of("runner_subject_whole_gcov"))) {
    GTEST_SKIP() << "this build's compiler is not GCC";
  }
  options_.profiles.gcov_prefix = directory_ + "/profiles";
  ASSERT_EQ(run("runner_subject_whole_gcov").value(), 1);
  std::size_t profiles = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(options_.profiles.gcov_prefix)) {
    profiles += entry.path().extension() == ".gcda" ? 1 : 0;
  }
  EXPECT_EQ(profiles, 1u);
}

TEST_F(WholeRun, HasNothingToPrepareOrToRepeat) {
  options_.repeat = 3;
  const auto status = run(kProgram);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message(),
              HasSubstr("it exited with status 3, and without a list there is no --prepare, "));
}

}  // namespace
}  // namespace spore::gtest_runner
