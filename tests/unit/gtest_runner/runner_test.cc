// Runner from end to end: what a run prints, writes and answers.
#include <filesystem>

#include "gtest_runner/failures/failure_keeper.h"
#include "unit/gtest_runner/runner_harness.h"

namespace spore::gtest_runner {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(RunnerTest, MergesTextAndStatus) {
  const auto status = run("runner_subject_mixed");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  const std::string& text = sink_.out_text;
  EXPECT_EQ(count(text, "[==========] Running 15 tests from 8 test suites.\n"), 1U);
  EXPECT_EQ(count(text, "[ RUN      ] "), 15U + 1U) << "one is printed by a test";
  EXPECT_EQ(count(text, "[ RUN      ] Plain.Fails\n"), 1U);
  EXPECT_EQ(count(text, "[----------] 5 tests from Plain\n"), 1U);
  EXPECT_EQ(count(text, "[ DISABLED ] Plain.DISABLED_Never\n"), 1U);
  EXPECT_THAT(text, HasSubstr("no line break[       OK ] Plain.Passes ("));
  EXPECT_THAT(text, HasSubstr("[  SKIPPED ] 1 test, listed below:\n[  SKIPPED ] Plain.Skips\n"));
  EXPECT_THAT(text, HasSubstr("  YOU HAVE 2 DISABLED TESTS\n"));
  EXPECT_LT(text.find("PlainDeathTest.Dies"), text.find("Plain.Passes")) << "the list's order";
  EXPECT_THAT(sink_.err_text, HasSubstr("said on stderr\n"));
  EXPECT_EQ(session_.log().forked.size(), 3U);
  EXPECT_EQ(session_.log().booted.size(), 1U);
}

TEST_F(RunnerTest, MergedXmlEqualsThatOfOneRun) {
  options_.gtest.output = fmt::format("xml:{}/merged.xml", directory_);
  ASSERT_TRUE(run("runner_subject_mixed"));
  run_plainly("runner_subject_mixed", fmt::format("--gtest_output=xml:{}/plain.xml", directory_));
  EXPECT_EQ(timeless_xml(directory_ + "/merged.xml"), timeless_xml(directory_ + "/plain.xml"));
}

// GoogleTest's own samples, unmodified.
class SampleTest : public RunnerTest, public ::testing::WithParamInterface<int> {};
TEST_P(SampleTest, HasTheSameOutcomesInChildren) {
  const std::string sample = fmt::format("{}/gtest_sample{}", SPORE_SAMPLES, GetParam());
  if (!std::filesystem::exists(sample)) {
    GTEST_SKIP() << "GoogleTest's samples are not installed";
  }
  options_.gtest.output = fmt::format("xml:{}/merged.xml", directory_);
  const auto status = run(sample);
  ASSERT_TRUE(status) << status.error().message();
  const int plain = run_plainly(sample, fmt::format("--gtest_output=xml:{}/plain.xml", directory_));
  EXPECT_EQ(*status, WEXITSTATUS(plain));
  EXPECT_EQ(timeless_xml(directory_ + "/merged.xml"), timeless_xml(directory_ + "/plain.xml"));
}
INSTANTIATE_TEST_SUITE_P(Googletest, SampleTest, ::testing::Range(1, 11));

TEST_F(RunnerTest, MergedJsonEqualsThatOfOneRun) {
  options_.gtest.output = fmt::format("json:{}/merged.json", directory_);
  ASSERT_TRUE(run("runner_subject_mixed"));
  run_plainly("runner_subject_mixed", fmt::format("--gtest_output=json:{}/plain.json", directory_));
  const auto merged = nlohmann::json::parse(slurp(directory_ + "/merged.json"));
  const auto plain = nlohmann::json::parse(slurp(directory_ + "/plain.json"));
  EXPECT_EQ(timeless_json(merged), timeless_json(plain));
}

TEST_F(RunnerTest, FiltersAndDisabledTests) {
  options_.gtest.filter = "Shared.*:*DISABLED_Never";
  options_.gtest.also_run_disabled_tests = true;
  const auto status = run("runner_subject_mixed");
  ASSERT_TRUE(status);
  EXPECT_EQ(*status, 1);
  EXPECT_THAT(sink_.out_text,
              AllOf(HasSubstr("Note: Google Test filter = Shared.*"),
                    HasSubstr("[  FAILED  ] Plain.DISABLED_Never ("), Not(HasSubstr("YOU HAVE"))));
}

TEST_F(RunnerTest, FewerTestsThanShards) {
  options_.gtest.filter = "Shared.First";
  const auto status = run("runner_subject_mixed");
  ASSERT_TRUE(status);
  EXPECT_EQ(*status, 0);
  EXPECT_EQ(session_.log().forked.size(), 1U);
  EXPECT_THAT(sink_.err_text, HasSubstr("spore-test: 1 children for 1 test, not 3\n"));
}

TEST_F(RunnerTest, AFilterThatMatchesNothingPasses) {
  options_.gtest.filter = "Nothing.*";
  const auto status = run("runner_subject_mixed");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 0);
  EXPECT_THAT(sink_.out_text, HasSubstr("[  PASSED  ] 0 tests.\n"));
  EXPECT_EQ(session_.log().forked.size(), 1U);
}

TEST_F(RunnerTest, AProgramWithoutTestsFailsWhereItsMainDoes) {
  options_.gtest.output = fmt::format("xml:{}/merged.xml", directory_);
  const auto status = run("runner_subject_empty");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  run_plainly("runner_subject_empty", fmt::format("--gtest_output=xml:{}/plain.xml", directory_));
  EXPECT_EQ(timeless_xml(directory_ + "/merged.xml"), timeless_xml(directory_ + "/plain.xml"));
}

// GoogleTest's assertions can be used without its tests.
TEST_F(RunnerTest, AProgramWithoutTestsNeedNotRunThem) {
  options_.env["SUBJECT_RUNS_NOTHING"] = "1";
  for (const Dist dist : {Dist::kLoad, Dist::kShard, Dist::kEach}) {
    options_.dist = dist;
    const auto status = run("runner_subject_empty");
    ASSERT_TRUE(status) << status.error().message();
    EXPECT_EQ(*status, 0) << sink_.err_text;
    EXPECT_EQ(sink_.err_text, "");
  }
}

TEST_F(RunnerTest, AProgramThatIsNoGoogleTestIsRefused) {
  const auto status = run("runner_subject_plain");
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message(),
              AllOf(HasSubstr("is no GoogleTest program"), HasSubstr("exited with status 3")));
}

TEST_F(RunnerTest, ListingAndHelpAreTheProgramsOwn) {
  options_.gtest.list_tests = true;
  options_.gtest.filter = "Shared.*";
  EXPECT_EQ(run("runner_subject_mixed").value(), 0);
  EXPECT_THAT(sink_.out_text, HasSubstr("Shared.\n  First\n  Second\n"));
  options_.gtest.list_tests = false;
  options_.gtest.help = true;
  options_.gtest.rest = {"--help"};
  EXPECT_EQ(run("runner_subject_mixed").value(), 0);
  EXPECT_THAT(sink_.out_text, HasSubstr("--gtest_also_run_disabled_tests"));
}

TEST_F(RunnerTest, UnknownFlagsOfGoogleTestGiveItsHelp) {
  options_.gtest.rest = {"--gtest_nonsense"};
  EXPECT_EQ(run("runner_subject_mixed").value(), 0);
  EXPECT_THAT(sink_.out_text, HasSubstr("--gtest_also_run_disabled_tests"));
  EXPECT_THAT(session_.log().forked, IsEmpty());
}

TEST_F(RunnerTest, TheWorkingDirectoryIsMadeWhereItIsTheHosts) {
  options_.gtest.filter = "Shared.*";
  options_.workdir = directory_ + "/a/b";
  options_.makes_workdir = true;
  EXPECT_EQ(run("runner_subject_mixed").value(), 0);
  EXPECT_TRUE(std::filesystem::is_directory(directory_ + "/a/b"));
  options_.workdir = "/proc/none";
  EXPECT_THAT(run("runner_subject_mixed").error().message(), HasSubstr("--workdir"));
}

TEST_F(RunnerTest, SetupRunsOnceAndItsFailureEndsTheRun) {
  options_.setup = fmt::format("echo ready | tee -a {}/setup", directory_);
  options_.gtest.filter = "Shared.*";
  EXPECT_EQ(run("runner_subject_mixed").value(), 0);
  EXPECT_EQ(slurp(directory_ + "/setup"), "ready\n");
  options_.setup = "echo broken >&2; exit 4";
  const auto status = run("runner_subject_mixed");
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message(), HasSubstr("--setup command exited with status 4"));
  EXPECT_THAT(sink_.err_text, HasSubstr("broken\n"));
}

TEST_F(RunnerTest, ATestThatEndsTheProgramCostsOneTest) {
  options_.gtest.filter = "Dying.*";
  options_.gtest.output = fmt::format("xml:{}/merged.xml", directory_);
  options_.shards = 2;
  const auto status = run("runner_subject_dying");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  const std::string& text = sink_.out_text;
  for (const char* name : {"A", "B", "C", "D", "E", "F"}) {
    EXPECT_EQ(count(text, fmt::format("[ RUN      ] Dying.{}\n", name)), 1U) << name;
  }
  EXPECT_THAT(text, HasSubstr("killed by signal 11 (Segmentation fault) while this test ran."));
  EXPECT_THAT(text, HasSubstr("exited with status 0 while this test ran."));
  EXPECT_THAT(text, ContainsRegex("\nIts stack:\n(  .*\n)*  .*Dying_B_Test::TestBody"));
  EXPECT_THAT(sink_.err_text, Not(HasSubstr("spore-stack: ")));
  EXPECT_THAT(text, HasSubstr("[       OK ] Dying.C"));
  EXPECT_THAT(text, HasSubstr("[       OK ] Dying.E"));
  EXPECT_THAT(text, HasSubstr("\n 3 FAILED TESTS\n"));
  EXPECT_EQ(session_.log().forked.size(), 2U + 2U) << "two children died";
  pugi::xml_document merged;
  ASSERT_TRUE(merged.load_file((directory_ + "/merged.xml").c_str()));
  const auto suite = merged.child("testsuites").child("testsuite");
  EXPECT_EQ(suite.attribute("tests").as_int(), 6);
  EXPECT_EQ(suite.attribute("failures").as_int(), 3);
  const auto dead = suite.find_child_by_attribute("name", "B");
  EXPECT_THAT(dead.child("failure").attribute("message").value(), HasSubstr("before the end"));
  EXPECT_THAT(dead.child("failure").next_sibling().child_value(), HasSubstr("signal 11"));
  EXPECT_THAT(dead.attribute("line").as_int(), ::testing::Gt(0));
}

TEST_F(RunnerTest, ATestThatHangsIsEnded) {
  options_.gtest.filter = "Hanging.*";
  options_.shards = 1;
  options_.timeout = std::chrono::milliseconds(500);
  const auto status = run("runner_subject_dying");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  EXPECT_THAT(sink_.out_text,
              AllOf(HasSubstr("no test began or ended within the 0.5 s"),
                    HasSubstr("[  FAILED  ] Hanging.G"), HasSubstr("[       OK ] Hanging.H")));
}

TEST_F(RunnerTest, AnOuterShardIsSplitByName) {
  options_.outer = {.total = 2, .index = 1, .status_file = directory_ + "/status"};
  options_.gtest.output = fmt::format("xml:{}/merged.xml", directory_);
  const auto status = run("runner_subject_mixed");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/status"));
  EXPECT_THAT(sink_.out_text, HasSubstr("Note: This is test shard 2 of 2.\n"));
  for (const ExecRequest& request : session_.log().executed) {
    EXPECT_FALSE(request.env.contains("GTEST_TOTAL_SHARDS"));
  }
  setenv("GTEST_TOTAL_SHARDS", "2", 1);
  setenv("GTEST_SHARD_INDEX", "1", 1);
  run_plainly("runner_subject_mixed", fmt::format("--gtest_output=xml:{}/plain.xml", directory_));
  unsetenv("GTEST_TOTAL_SHARDS");
  unsetenv("GTEST_SHARD_INDEX");
  EXPECT_EQ(timeless_xml(directory_ + "/merged.xml"), timeless_xml(directory_ + "/plain.xml"));
}

TEST_F(RunnerTest, ThePrematureExitFileIsThereWhileTestsRun) {
  const std::string path = directory_ + "/premature";
  options_.outer.premature_exit_file = path;
  bool seen = false;
  sink_.on_text = [&] { seen = std::filesystem::exists(path); };
  ASSERT_TRUE(run("runner_subject_mixed"));
  EXPECT_TRUE(seen);
  EXPECT_FALSE(std::filesystem::exists(path));
  options_.outer.premature_exit_file = directory_ + "/none/premature";
  EXPECT_THAT(run("runner_subject_mixed").error().message(),
              HasSubstr("none/premature (TEST_PREMATURE_EXIT_FILE)"));
}

TEST_F(RunnerTest, RepeatsAndShuffles) {
  options_.gtest.filter = "Shared.*:Plain.Passes";
  options_.gtest.repeat = 2;
  options_.gtest.shuffle = true;
  options_.gtest.random_seed = 99999;
  options_.shards = 2;
  EXPECT_EQ(run("runner_subject_mixed").value(), 0);
  EXPECT_THAT(sink_.out_text,
              AllOf(HasSubstr("Repeating all tests (iteration 2) . . .\n"),
                    HasSubstr("orders with a seed of 99999 .\n"), HasSubstr("a seed of 1 .\n")));
  EXPECT_EQ(count(sink_.out_text, "[       OK ] Shared.First"), 2U);
  EXPECT_EQ(session_.log().forked.size(), 4U);
}

TEST_F(RunnerTest, FlakyTestsAreToldFromFailingOnes) {
  options_.repeat = 4;
  options_.dist = Dist::kEach;
  options_.gtest.filter = "Flaky.*:Plain.Fails:Plain.Passes:Plain.Skips";
  options_.env["SUBJECT_COUNTER"] = directory_ + "/count";  // it fails for each third that reads it
  const auto status = run("runner_subject_mixed");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(*status, 1);
  const std::string& text = sink_.out_text;
  EXPECT_THAT(text, ::testing::StartsWith("[==========] 4 runs of 4 tests, each in a clean"));
  EXPECT_THAT(text, HasSubstr("[  FAILED  ] Plain.Fails failed in every run:\n"));
  EXPECT_THAT(text, HasSubstr("[  FLAKY   ] Flaky.ByACounter failed in 1 of 4 runs (25%), first in "
                              "run 3:\n"));
  EXPECT_THAT(text, HasSubstr("the counter is 3\n"));
  EXPECT_THAT(text, HasSubstr("[  PASSED  ] 2 tests in every run.\n"));
  EXPECT_THAT(text, HasSubstr("[  FAILED  ] 1 test in every run, 1 test in some.\n"));
  EXPECT_EQ(count(text, "[ RUN"), 0U);
}

TEST_F(RunnerTest, MachinesOfFailedTestsAreKept) {
  options_.keep_failed = directory_ + "/kept";
  options_.dist = Dist::kEach;
  options_.shards = 2;
  options_.timeout = std::chrono::milliseconds(1500);  // one of them sleeps
  ASSERT_EQ(run("runner_subject_dying").value(), 1);
  options_.gtest.filter = "Plain.Fails:Plain.Passes";
  ASSERT_EQ(run("runner_subject_mixed").value(), 1);
  std::vector<std::string> kept;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(options_.keep_failed)) {
    if (entry.path().filename() == "number") {
      kept.push_back(entry.path().parent_path().lexically_relative(options_.keep_failed).string());
    }
  }
  EXPECT_THAT(kept, ::testing::UnorderedElementsAre("1/fixture-point", "1/Dying.B", "1/Dying.D",
                                                    "1/Dying.F", "1/Hanging.G", "2/fixture-point",
                                                    "2/Plain.Fails"));
  EXPECT_THAT(sink_.err_text,
              HasSubstr(fmt::format("spore-test: Plain.Fails is kept: spore run --from "
                                    "{}/2/Plain.Fails -- sh\n",
                                    options_.keep_failed)));
}

TEST_F(RunnerTest, OfAFlakyTestTheFirstFailureIsKept) {
  options_.keep_failed = directory_ + "/kept";
  options_.repeat = 3;
  options_.dist = Dist::kEach;
  options_.gtest.filter = "Plain.Fails";
  ASSERT_EQ(run("runner_subject_mixed").value(), 1);
  EXPECT_EQ(count(sink_.err_text, "Plain.Fails is kept"), 1U);
}

TEST(FailureKeeper, NamesFilesAfterTests) {
  EXPECT_EQ(file_name_of("Suite.Test"), "Suite.Test");
  EXPECT_EQ(file_name_of("In/Suite.Test/0"), "In-Suite.Test-0");
  EXPECT_EQ(file_name_of("S.T/../\"x y"), "S.T-..--x-y");
  EXPECT_EQ(file_name_of("fixture point"), "test-fixture-point") << "that is what they start from";
  EXPECT_EQ(file_name_of(".."), "test-..");
  EXPECT_EQ(file_name_of(""), "test-");
  EXPECT_EQ(file_name_of(std::string(400, 'a')).size(), 150U);
}

}  // namespace
}  // namespace spore::gtest_runner
