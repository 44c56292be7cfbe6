// Runner from end to end with --scope=suite and --teardown=skip.
#include "unit/gtest_runner/runner_harness.h"

namespace spore::gtest_runner {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kSubject = "runner_subject_suites";
// On this host, in one process, Counted.Third and Fourth find what First did.
constexpr const char* kSame = "-Counted.First:Counted.Fourth:Numbers/*/1:Numbers/*/2";

class SuiteScopeTest : public RunnerTest {
 protected:
  SuiteScopeTest() {
    options_.scope = Scope::kSuite;
    options_.env["SUBJECT_SET_UPS"] = directory_ + "/set-ups";
  }
  // Whose SetUpTestSuite ran since the last call, once for each time.
  std::vector<std::string> set_ups() {
    std::ifstream file(directory_ + "/set-ups");
    std::vector<std::string> suites;
    for (std::string line; std::getline(file, line);) {
      suites.push_back(line);
    }
    std::filesystem::remove(directory_ + "/set-ups");
    std::sort(suites.begin(), suites.end());
    return suites;
  }
  std::string text_of(Dist dist) {
    options_.dist = dist;
    sink_.out_text.clear();
    const auto status = run(kSubject);
    EXPECT_TRUE(status) << status.error().message();
    EXPECT_EQ(status.value_or(-1), 1) << sink_.out_text << sink_.err_text;
    return sink_.out_text;
  }
};

TEST_F(SuiteScopeTest, EverySuiteIsSetUpOnceHoweverItsTestsAreDistributed) {
  for (const Dist dist : {Dist::kLoad, Dist::kShard, Dist::kEach}) {
    const std::string text = text_of(dist);
    EXPECT_THAT(set_ups(), ElementsAre("Counted", "Dying", "Failing", "Throwing", "Valued"));
    EXPECT_THAT(text, HasSubstr("[----------] 3 tests from Counted\nCounted is set up\n"
                                "[ RUN      ] Counted.First\n"));
    EXPECT_EQ(count(text, "Counted is set up\n"), 1U);
    EXPECT_EQ(count(text, "this suite cannot be\n"), 1U);
    EXPECT_EQ(count(text, "[ RUN      ] "), 13U);
    EXPECT_EQ(count(text, "[==========] Running 13 tests from 6 test suites.\n"), 1U);
    EXPECT_THAT(text, HasSubstr("[  SKIPPED ] 3 tests, listed below:\n"
                                "[  SKIPPED ] Failing.A\n[  SKIPPED ] Failing.B\n"));
    EXPECT_THAT(text, HasSubstr("[  FAILED  ] Failing: SetUpTestSuite or TearDownTestSuite\n"));
    EXPECT_THAT(text, HasSubstr("\n 2 FAILED TEST SUITES\n"));
  }
}

TEST_F(SuiteScopeTest, WithEachEveryTestFindsWhatItsSuiteMade) {
  options_.gtest.filter = "Counted.*:Numbers/*:None.*:-Counted.Fourth";
  options_.dist = Dist::kEach;
  options_.shards = 2;
  EXPECT_EQ(run(kSubject).value(), 0) << sink_.out_text;
  EXPECT_EQ(count(sink_.out_text, "[       OK ] "), 7U);
  EXPECT_THAT(set_ups(), ElementsAre("Counted", "Valued"));
  // A machine for each test, and one for each set-up.
  EXPECT_EQ(session_.log().forked.size(), 7U + 2U);
}

TEST_F(SuiteScopeTest, ItReadsLikeOneRun) {
  const auto timeless = [](const std::string& text) {
    return std::regex_replace(text, std::regex(R"(\([0-9]+ ms)"), "(0 ms");
  };
  options_.gtest.filter = kSame;
  const std::string forked = text_of(Dist::kEach);
  const std::string path = directory_ + "/plain";
  EXPECT_NE(std::system(
                fmt::format("{} '--gtest_filter={}' > {}", path_of(kSubject), kSame, path).c_str()),
            0);
  const std::string plain = slurp(path);
  EXPECT_EQ(timeless(forked), timeless(plain.substr(plain.find("Note: "))));
}

TEST_F(SuiteScopeTest, ReportsAreThoseOfOneRun) {
  options_.gtest.filter = kSame;
  options_.shards = 1;  // all machines of a FakeSession have one file for their reports
  for (const std::string format : {"xml", "json"}) {
    options_.gtest.output = fmt::format("{}:{}/merged", format, directory_);
    for (const Dist dist : {Dist::kLoad, Dist::kShard, Dist::kEach}) {
      text_of(dist);
      run_plainly(kSubject, fmt::format("--gtest_output={}:{}/plain --gtest_filter={}", format,
                                        directory_, kSame));
      if (format == "xml") {
        EXPECT_EQ(timeless_xml(directory_ + "/merged"), timeless_xml(directory_ + "/plain"));
      } else {
        EXPECT_EQ(timeless_json(nlohmann::json::parse(slurp(directory_ + "/merged"))),
                  timeless_json(nlohmann::json::parse(slurp(directory_ + "/plain"))));
      }
    }
  }
}

TEST_F(SuiteScopeTest, ASetUpThatHangsIsWaitedForOnce) {
  options_.gtest.filter = "None.*:Dying.*";
  options_.env["SUBJECT_HANGS"] = "1";
  options_.timeout = std::chrono::milliseconds(2000);
  const std::string text = text_of(Dist::kEach);
  EXPECT_THAT(set_ups(), ElementsAre("Dying"));
  EXPECT_THAT(text, HasSubstr("\n 2 FAILED TESTS\n"));
}

TEST_F(SuiteScopeTest, ASetUpThatEndsTheProgramFailsItsTests) {
  options_.gtest.filter = "None.*:Dying.*";
  options_.env["SUBJECT_DIES"] = "1";
  const std::string text = text_of(Dist::kEach);
  EXPECT_THAT(set_ups(), ElementsAre("Dying"));
  EXPECT_EQ(count(text,
                  "This test was not run: setting up Dying: its test program exited with "
                  "status 3 before its tests were over."),
            2U)
      << text;
  EXPECT_THAT(text, HasSubstr("\n 2 FAILED TESTS\n"));
}

TEST_F(SuiteScopeTest, RepeatedRunsGoOnFromTheSuitesMachines) {
  options_.gtest.filter = "Counted.First:Counted.Third";
  options_.gtest.repeat = 3;
  EXPECT_EQ(run(kSubject).value(), 0) << sink_.out_text;
  EXPECT_THAT(set_ups(), ElementsAre("Counted"));
  EXPECT_EQ(count(sink_.out_text, "Counted is set up\n"), 3U);
}

TEST_F(SuiteScopeTest, SuitesAreSetUpWithinABudgetToo) {
  options_.memory_budget = 64 * kMiB;
  session_.log().private_bytes = 40 * kMiB;
  text_of(Dist::kEach);
  EXPECT_THAT(set_ups(), ElementsAre("Counted", "Dying", "Failing", "Throwing", "Valued"));
}

TEST_F(SuiteScopeTest, AKeptMachineKnowsWhichSuitesAreSetUp) {
  setenv("SPORE_CACHE_DIR", (directory_ + "/cache").c_str(), 1);
  is_warm_ = true;
  options_.scope = Scope::kSession;
  text_of(Dist::kShard);
  (void)set_ups();
  options_.scope = Scope::kSuite;
  text_of(Dist::kEach);
  EXPECT_EQ(session_.log().booted.size(), 1U);
  EXPECT_THAT(set_ups(), ElementsAre("Counted", "Dying", "Failing", "Throwing", "Valued"));
  unsetenv("SPORE_CACHE_DIR");
}

TEST_F(SuiteScopeTest, TearDownsAreLeftOutOnRequest) {
  options_.gtest.filter = "Counted.Third";
  options_.env["SUBJECT_FAILS_TEAR_DOWN"] = "1";
  for (const Scope scope : {Scope::kSession, Scope::kSuite}) {
    options_.scope = scope;
    options_.skip_teardown = false;
    EXPECT_THAT(text_of(Dist::kEach),
                AllOf(HasSubstr("the suite stays"), HasSubstr("the environment stays")));
    options_.skip_teardown = true;
    sink_.out_text.clear();
    EXPECT_EQ(run(kSubject).value(), 0);
    EXPECT_THAT(sink_.out_text,
                AllOf(HasSubstr("[       OK ] Counted.Third"), Not(HasSubstr("stays"))));
  }
}

TEST(CheckAbilities, NamesWhatToLink) {
  Options options;
  const auto check = [&options](const std::string& subject) {
    const auto program = inspect_program(fmt::format("{}/{}", SPORE_SUBJECTS, subject));
    return check_abilities(program.value(), options);
  };
  EXPECT_TRUE(check("runner_subject_mixed"));
  options.scope = Scope::kSuite;
  EXPECT_TRUE(check(kSubject));
  EXPECT_THAT(check("runner_subject_mixed").error().message(),
              AllOf(HasSubstr("--scope=suite: "), HasSubstr("runner_subject_mixed is linked with a "
                                                            "main() that cannot do that: link "
                                                            "spore_gtest_main")));
  EXPECT_THAT(check("runner_subject_fixture").error().message(), HasSubstr("too old"));
  options = {};
  options.skip_teardown = true;
  EXPECT_THAT(check("runner_subject_mixed").error().message(), HasSubstr("--teardown=skip: "));
}

}  // namespace
}  // namespace spore::gtest_runner
