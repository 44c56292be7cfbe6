// Runner from end to end: which child runs a test, from where, and how many there are at a time.
#include "unit/gtest_runner/runner_harness.h"

namespace spore::gtest_runner {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(RunnerTest, EachGivesEveryTestAMachineAndTheSameReport) {
  options_.dist = Dist::kEach;
  options_.gtest.output = fmt::format("xml:{}/merged.xml", directory_);
  const auto status = run("runner_subject_mixed");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  run_plainly("runner_subject_mixed", fmt::format("--gtest_output=xml:{}/plain.xml", directory_));
  EXPECT_EQ(timeless_xml(directory_ + "/merged.xml"), timeless_xml(directory_ + "/plain.xml"));
  EXPECT_EQ(count(sink_.out_text, "[ RUN      ] Plain.Fails\n"), 1U);
  EXPECT_EQ(session_.log().forked.size(), 15U);
  EXPECT_EQ(session_.log().resets, 15 - 3);
}

TEST_F(RunnerTest, LoadRunsTheProgramAgainInTheSameMachines) {
  options_.dist = Dist::kLoad;
  options_.gtest.output = fmt::format("xml:{}/merged.xml", directory_);
  const auto status = run("runner_subject_mixed");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  run_plainly("runner_subject_mixed", fmt::format("--gtest_output=xml:{}/plain.xml", directory_));
  EXPECT_EQ(timeless_xml(directory_ + "/merged.xml"), timeless_xml(directory_ + "/plain.xml"));
  EXPECT_EQ(count(sink_.out_text, "[==========] Running 15 tests from 8 test suites.\n"), 1U);
  EXPECT_EQ(count(sink_.out_text, "[ RUN      ] Plain.Fails\n"), 1U);
  EXPECT_EQ(session_.log().forked.size(), 3U);
  EXPECT_EQ(session_.log().resets, 0);
}

TEST_F(RunnerTest, LoadPutsMachinesBackAfterTestsThatDie) {
  options_.dist = Dist::kLoad;
  options_.shards = 2;
  options_.timeout = std::chrono::milliseconds(1500);  // one of them sleeps
  const auto status = run("runner_subject_dying");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  EXPECT_EQ(count(sink_.out_text, "[ RUN      ] "), 8U);
  EXPECT_THAT(sink_.out_text, HasSubstr("\n 4 FAILED TESTS\n"));
  EXPECT_GT(session_.log().resets, 0);
}

TEST_F(RunnerTest, LoadStartsEveryTurnAtTheFixturePoint) {
  options_.gtest.filter = "-Fixture.B";  // what comes after it in its machine fails
  options_.shards = 2;
  const auto status = run("runner_subject_fixture");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1) << "Fixture.D aborts";
  EXPECT_EQ(count(sink_.out_text, "building the index\n"), 1U);
  for (const char* name : {"A", "C", "E", "F", "G", "H"}) {
    EXPECT_EQ(count(sink_.out_text, fmt::format("[       OK ] Fixture.{} ", name)), 1U) << name;
  }
  EXPECT_EQ(count(sink_.out_text, "[  FAILED  ] Fixture.D ("), 1U);
  EXPECT_EQ(session_.log().forked.front().user.at("gtest_filter"), "Fixture.A:Fixture.C");
  EXPECT_GE(session_.log().resets, 2);
}

TEST_F(RunnerTest, FewerMachinesRunWhenTheyNearTheMemoryBudget) {
  options_.gtest.filter = "Plain.Passes:Plain.Rec*:Plain.Prints*:PlainDeathTest.*";
  ASSERT_TRUE(run("runner_subject_mixed"));
  const std::string all_at_once = sink_.out_text;
  const int most_open = session_.log().most_open.exchange(0);
  options_.memory_budget = 64 * kMiB;
  session_.log().private_bytes = 40 * kMiB;
  for (const bool each : {false, true}) {
    sink_.out_text.clear();
    options_.dist = each ? Dist::kEach : Dist::kShard;
    const auto status = run("runner_subject_mixed");
    ASSERT_TRUE(status) << status.error().message();
    EXPECT_EQ(*status, 0);
    EXPECT_EQ(count(sink_.out_text, "[       OK ]"), count(all_at_once, "[       OK ]"));
    // One of three; a reset makes the next while the last one is still here.
    EXPECT_EQ(session_.log().most_open.exchange(0), most_open - (each ? 1 : 2));
  }
}

TEST_F(RunnerTest, EachRetiresMachinesThatGrowOverTheBudget) {
  options_.dist = Dist::kEach;
  options_.memory_budget = 64 * kMiB;
  session_.log().private_bytes = 10 * kMiB;  // all three find room
  options_.gtest.filter = "Plain.Passes:Plain.Rec*:Plain.Prints*:PlainDeathTest.*";
  ASSERT_TRUE(run("runner_subject_mixed"));
  const std::string unbounded = sink_.out_text;
  sink_.out_text.clear();
  session_.log().growth_per_reset = 30 * kMiB;
  const auto status = run("runner_subject_mixed");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 0);
  EXPECT_EQ(count(sink_.out_text, "[       OK ]"), count(unbounded, "[       OK ]"));
}

TEST_F(RunnerTest, EachGoesOnAfterTestsThatDie) {
  options_.dist = Dist::kEach;
  options_.shards = 2;
  options_.timeout = std::chrono::milliseconds(1500);  // one of them sleeps
  const auto status = run("runner_subject_dying");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  EXPECT_EQ(count(sink_.out_text, "[ RUN      ] "), 8U);
  EXPECT_THAT(sink_.out_text, HasSubstr("\n 4 FAILED TESTS\n"));
  EXPECT_EQ(session_.log().forked.size(), 8U);
}

TEST_F(RunnerTest, EachStartsEveryTestAtTheFixturePoint) {
  options_.dist = Dist::kEach;
  options_.shards = 2;
  const auto status = run("runner_subject_fixture");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1) << "Fixture.D aborts";
  EXPECT_EQ(count(sink_.out_text, "building the index\n"), 1U);
  for (const char* name : {"A", "B", "C", "E", "F", "G", "H"}) {
    EXPECT_EQ(count(sink_.out_text, fmt::format("[       OK ] Fixture.{} ", name)), 1U) << name;
  }
  ASSERT_EQ(session_.log().forked.size(), 8U);
  for (const ForkParameters& child : session_.log().forked) {
    EXPECT_THAT(child.user.at("gtest_filter"), ::testing::MatchesRegex("Fixture\\.[A-H]"));
  }
}

TEST_F(RunnerTest, AFixturePointIsReachedOnce) {
  options_.dist = Dist::kShard;
  options_.shards = 3;
  const auto status = run("runner_subject_fixture");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1) << "Fixture.D aborts";
  const std::string& text = sink_.out_text;
  EXPECT_EQ(count(text, "building the index\n"), 1U);
  for (const char* name : {"A", "B", "C", "E", "F", "G", "H"}) {
    EXPECT_EQ(count(text, fmt::format("[       OK ] Fixture.{} ", name)), 1U) << name;
  }
  EXPECT_EQ(count(text, "[  FAILED  ] Fixture.D ("), 1U);
  ASSERT_EQ(session_.log().forked.size(), 4U);
  EXPECT_EQ(session_.log().resets, 1);
  EXPECT_EQ(session_.log().forked[3].user.at("gtest_filter"), "Fixture.G");
  EXPECT_THAT(session_.log().forked[0].user, IsEmpty());
}

TEST_F(RunnerTest, AnOuterShardOfAFixturedProgramIsNamedToItsChildren) {
  options_.outer = {.total = 4, .index = 0, .status_file = ""};
  options_.shards = 2;
  EXPECT_EQ(run("runner_subject_fixture").value(), 0);
  ASSERT_EQ(session_.log().forked.size(), 2U);
  EXPECT_EQ(session_.log().forked[0].user.at("gtest_filter"), "Fixture.A");
  EXPECT_EQ(session_.log().forked[1].user.at("gtest_filter"), "Fixture.E");
}

TEST_F(RunnerTest, AnEndBeforeTheFixturePointIsTold) {
  options_.env["SUBJECT_EXIT_EARLY"] = "1";
  const auto status = run("runner_subject_fixture");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  EXPECT_THAT(sink_.out_text, HasSubstr("cannot build it\n"));
  EXPECT_THAT(sink_.err_text, HasSubstr("exited with status 7 before its fixture point"));
  EXPECT_THAT(session_.log().forked, IsEmpty());
}

// What it printed, that a test begins too, is lost with it.
TEST_F(RunnerTest, AMachineThatDiesAtOnceCostsItsFirstTest) {
  for (const Dist dist : {Dist::kEach, Dist::kLoad, Dist::kShard}) {
    options_.dist = dist;
    options_.gtest.filter = "Fixture.A:Fixture.C";
    options_.shards = 1;
    session_.log().panics = 1;
    sink_.out_text.clear();
    EXPECT_EQ(run("runner_subject_fixture"), 1);
    EXPECT_THAT(sink_.out_text, HasSubstr("[ RUN      ] Fixture.A\nunknown file: Failure\n"
                                          "The machine was lost: panicked (for a test)\n"
                                          "The end of its console:\nits end\n"));
    EXPECT_THAT(sink_.out_text, HasSubstr("[       OK ] Fixture.C"));
    EXPECT_THAT(sink_.out_text, HasSubstr("\n 1 FAILED TEST\n"));
  }
}

}  // namespace
}  // namespace spore::gtest_runner
