// Catch2 and doctest programs, real ones, run by the whole of spore-test on processes of this host.
#include "gtest_runner/frameworks/framework.h"

#include <sys/wait.h>

#include "gtest_runner/frameworks/catch2.h"
#include "unit/gtest_runner/runner_harness.h"

namespace spore::gtest_runner {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// What is the same for both, but for the words.
struct Dialect {
  std::string name;
  std::vector<std::string> dying;  // choose the tests of that name
  std::vector<std::string> hanging;
  std::vector<std::string> fixture;
  std::vector<std::string> flaky;
  std::vector<std::string> liar;
  std::vector<std::string> plain;
  std::string plain_flags;  // the same for a shell
};

const Dialect kCatch2Words{.name = "catch2",
                           .dying = {"[dying]"},
                           .hanging = {"--", "[hanging]"},
                           .fixture = {"[fixture]"},
                           .flaky = {"flaky"},
                           .liar = {"feigns its*"},
                           .plain = {"[plain]"},
                           .plain_flags = "[plain]"};
const Dialect kDoctestWords{.name = "doctest",
                            .dying = {"-ts=dying", "-ns"},
                            .hanging = {"--", "--test-suite=hanging", "--no-skip"},
                            .fixture = {"-ts=fixture", "-ns"},
                            .flaky = {"-tc=flaky", "-ns=1"},
                            .liar = {"-dt-tc=feigns its*", "-ns"},
                            .plain = {"-ts=plain"},
                            .plain_flags = "-ts=plain"};

class FrameworkTest : public RunnerTest, public ::testing::WithParamInterface<Dialect> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(path_of(program("plain")))) {
      GTEST_SKIP() << GetParam().name << " is not installed";
    }
  }
  static std::string program(const std::string& kind) {
    return "runner_subject_" + GetParam().name + "_" + kind;
  }
  // By name: how it ended, as the JUnit file says. Same names are numbered.
  std::map<std::string, std::string> outcomes(const std::string& path) {
    std::map<std::string, std::string> found;
    pugi::xml_document document;
    EXPECT_TRUE(document.load_file(path.c_str())) << path;
    for (const auto& entry : document.select_nodes("//testcase")) {
      std::string name = entry.node().attribute("name").value();
      while (found.contains(name)) {
        name += "'";
      }
      found[name] = entry.node().child("failure")   ? "failed"
                    : entry.node().child("skipped") ? "skipped"
                                                    : "passed";
    }
    return found;
  }
  // The same by the program alone, in one run: its own XML.
  std::map<std::string, std::string> plain_outcomes() {
    const bool is_doctest = GetParam().name == "doctest";
    const std::string path = directory_ + "/plain.xml";
    const std::string options = (is_doctest ? "-r=xml -o=" : "-r xml -o ") + path;
    run_plainly(program("plain"), options + " " + GetParam().plain_flags);
    std::map<std::string, std::string> found;
    pugi::xml_document document;
    EXPECT_TRUE(document.load_file(path.c_str())) << path;
    for (const auto& entry : document.select_nodes("//TestCase[not(@skipped)]")) {
      const auto result =
          is_doctest ? entry.node().child("OverallResultsAsserts").attribute("test_case_success")
                     : entry.node().child("OverallResult").attribute("success");
      std::string name = entry.node().attribute("name").value();
      while (found.contains(name)) {
        name += "'";
      }
      found[name] = result.as_bool() ? "passed" : "failed";
    }
    return found;
  }
};

INSTANTIATE_TEST_SUITE_P(Frameworks, FrameworkTest, ::testing::Values(kCatch2Words, kDoctestWords),
                         [](const auto& info) { return info.param.name; });

// Names with commas, brackets, quotes, backslashes, wildcards, none at all: each in a run of its
// own.
TEST_P(FrameworkTest, HasTheSameOutcomesInEveryMode) {
  const auto plain = plain_outcomes();
  EXPECT_GE(plain.size(), 14U);
  for (const Dist dist : {Dist::kLoad, Dist::kShard, Dist::kEach}) {
    options_.dist = dist;
    options_.gtest.rest = GetParam().plain;
    options_.gtest.output = fmt::format("xml:{}/merged.xml", directory_);
    const auto status = run(program("plain"));
    ASSERT_TRUE(status) << status.error().message();
    EXPECT_EQ(*status, 1);
    auto merged = outcomes(directory_ + "/merged.xml");
    if (GetParam().name == "catch2") {  // its reporter trims names
      auto node = merged.extract("  spaces  ");
      node.key() = "spaces";
      merged.insert(std::move(node));
    }
    EXPECT_EQ(merged, plain) << static_cast<int>(dist);
  }
  EXPECT_THAT(sink_.err_text, HasSubstr("said on stderr\n"));
  EXPECT_THAT(sink_.out_text, AllOf(HasSubstr("to the stream\n"), HasSubstr("no line break"),
                                    HasSubstr("the answer is near"), HasSubstr("given up")));
  EXPECT_THAT(sink_.out_text, Not(HasSubstr("<Expression")));
  EXPECT_THAT(sink_.err_text, Not(HasSubstr("child ")));
}

TEST_P(FrameworkTest, WritesJunitWhereItsOwnOptionSays) {
  const std::string path = directory_ + "/junit.xml";
  options_.gtest.rest = GetParam().plain;
  for (const char* word : {"r", "o"}) {
    const std::string value = word[0] == 'r' ? "junit" : path;
    options_.gtest.rest.push_back(fmt::format("-{}={}", word, value));
  }
  ASSERT_EQ(run(program("plain")).value(), 1);
  pugi::xml_document document;
  ASSERT_TRUE(document.load_file(path.c_str()));
  const auto failed = document.select_node("//testcase[starts-with(@name,'fails <x>')]").node();
  EXPECT_THAT(failed.child("failure").attribute("message").value(),
              AllOf(HasSubstr("subject_" + GetParam().name + ".cc:"), HasSubstr("6 * 9 == 42")));
  EXPECT_STREQ(failed.child("failure").next_sibling().name(), "failure") << "both sections";
  EXPECT_GT(failed.attribute("line").as_int(), 0);
  options_.gtest.rest = {"-r=compact", "-o=" + path};
  EXPECT_THAT(run(program("plain")).error().message(), HasSubstr("junit"));
}

TEST_P(FrameworkTest, ATestThatEndsTheProgramCostsOneTest) {
  options_.gtest.rest = GetParam().dying;
  options_.gtest.output = fmt::format("xml:{}/merged.xml", directory_);
  for (const Dist dist : {Dist::kLoad, Dist::kShard, Dist::kEach}) {
    options_.dist = dist;
    options_.shards = 2;
    const auto status = run(program("plain"));
    ASSERT_TRUE(status) << status.error().message();
    EXPECT_EQ(*status, 1);
    const std::map<std::string, std::string> expected = {{"a", "passed"}, {"b", "failed"},
                                                         {"c", "passed"}, {"d", "failed"},
                                                         {"e", "failed"}, {"f", "passed"}};
    EXPECT_EQ(outcomes(directory_ + "/merged.xml"), expected) << static_cast<int>(dist);
  }
  EXPECT_THAT(sink_.out_text, AllOf(HasSubstr("before the end\n"), HasSubstr("SIGSEGV"),
                                    HasSubstr("exited with status 0 while this test ran."),
                                    HasSubstr("killed by signal 9 (Killed) while this test ran.")));
  EXPECT_THAT(sink_.err_text, Not(HasSubstr("spore-stack: ")));
}

TEST_P(FrameworkTest, ATestThatHangsIsEnded) {
  options_.gtest.rest = GetParam().hanging;
  options_.shards = 1;
  options_.timeout = std::chrono::milliseconds(500);
  ASSERT_EQ(run(program("plain")).value(), 1);
  EXPECT_THAT(sink_.out_text, AllOf(HasSubstr("no test began or ended within the 0.5 s"),
                                    HasSubstr("test cases: 2 | 1 passed | 1 failed")));
}

TEST_P(FrameworkTest, RepeatsFindFlakyTests) {
  options_.repeat = 6;
  options_.dist = Dist::kEach;
  options_.env["SUBJECT_COUNTER"] = directory_ + "/count";
  options_.gtest.rest = GetParam().flaky;
  ASSERT_EQ(run(program("plain")).value(), 1);
  EXPECT_THAT(sink_.out_text, HasSubstr("flaky failed in 2 of 6 runs (33.3%), first in run 3:\n"));
}

TEST_P(FrameworkTest, AFixturePointIsReachedOnce) {
  options_.gtest.rest = GetParam().fixture;
  options_.dist = Dist::kEach;
  const auto status = run(program("fixture"));
  ASSERT_TRUE(status) << status.error().message() << sink_.out_text;
  EXPECT_EQ(*status, 0) << sink_.out_text;
  EXPECT_EQ(count(sink_.out_text, "setting up\n"), 1U);
  ASSERT_FALSE(session_.log().forked.empty());
  EXPECT_THAT(session_.log().forked[0].user.at("test_arguments"), HasSubstr("set up once"));
}

TEST_P(FrameworkTest, AWarmStartAsksNothing) {
  setenv("SPORE_CACHE_DIR", directory_.c_str(), 1);
  is_warm_ = true;
  options_.gtest.rest = GetParam().dying;
  ASSERT_EQ(run(program("plain")).value(), 1);
  const auto booted = session_.log().booted.size();
  const std::string first = sink_.out_text;
  ASSERT_EQ(run(program("plain")).value(), 1);
  EXPECT_EQ(session_.log().booted.size(), booted);
  EXPECT_EQ(count(sink_.out_text, "exited with status 0"), 2U);
}

TEST_P(FrameworkTest, ATestThatFeignsItsEndFailsTheRun) {
  options_.gtest.rest = GetParam().liar;
  EXPECT_EQ(run(program("plain")).value(), 1);
  EXPECT_THAT(sink_.err_text, HasSubstr("results contradict each other"));
}

TEST_P(FrameworkTest, QuestionsAreAnsweredByTheProgram) {
  options_.gtest.rest = {"--list-reporters"};
  const auto status = run(program("plain"));
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_THAT(sink_.out_text, HasSubstr("junit"));
  EXPECT_TRUE(session_.log().forked.empty());
}

TEST_P(FrameworkTest, AChoiceThatTakesNothingRunsNothing) {
  options_.gtest.rest = {GetParam().name == "doctest" ? "-tc=nothing" : "nothing"};
  ASSERT_TRUE(run(program("plain")));
  EXPECT_TRUE(session_.log().forked.empty());
  EXPECT_THAT(sink_.out_text, Not(HasSubstr("given up")));
}

TEST_P(FrameworkTest, AnOuterShardWithoutTestsRunsNone) {
  options_.gtest.rest = GetParam().flaky;
  options_.outer = {.total = 2, .index = 1};
  ASSERT_EQ(run(program("plain")).value(), 0);
  EXPECT_TRUE(session_.log().forked.empty());
}

TEST_P(FrameworkTest, WhatIsNoProgramOfItIsRefused) {
  const auto kind = framework_named(GetParam().name);
  ASSERT_TRUE(kind);
  options_.framework = kind;
  const auto status = run("runner_subject_plain");
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message(),
              HasSubstr(fmt::format("is no {} program", to_string(*kind))));
  EXPECT_EQ(count(status.error().message(), "\n"), 0U);
}

TEST_P(FrameworkTest, GoogleTestsFlagsForItAreToldToBeIgnored) {
  options_.gtest.rest = GetParam().flaky;
  options_.gtest.shuffle = true;
  ASSERT_TRUE(run(program("plain")));
  EXPECT_THAT(sink_.err_text, HasSubstr("are ignored"));
  options_.gtest.list_tests = true;
  options_.framework = framework_named(GetParam().name);
  const auto listed = run(program("plain"));
  ASSERT_FALSE(listed);
  EXPECT_THAT(listed.error().message(), HasSubstr("give it the options of "));
}

TEST(Frameworks, AreToldByTheirOwnLinesOnly) {
  EXPECT_EQ(framework_of_help("\nCatch v2.13.10\nusage:\n"), FrameworkKind::kCatch2);
  EXPECT_EQ(framework_of_help("\nCatch2 v3.7.1\nusage:\n"), FrameworkKind::kCatch2);
  EXPECT_EQ(framework_of_help("[doctest] doctest version is \"2.4.9\"\n"), FrameworkKind::kDoctest);
  EXPECT_EQ(framework_of_help("This program contains tests written using Google Test. You"),
            FrameworkKind::kGoogleTest);
  EXPECT_EQ(framework_of_help("compares Catch2 v3 with [doctest] doctest version is 2"),
            std::nullopt);
  EXPECT_EQ(framework_of_help("Catch v2.1\n[doctest] doctest version is 2\n"), std::nullopt);
  EXPECT_EQ(framework_of_help(""), std::nullopt);
}

TEST(Catch2, SpecsAreExactNames) {
  EXPECT_EQ(catch2_spec("a, b"), "\"a\\, b\"");
  EXPECT_EQ(catch2_spec("[x] \"y\" \\z"), "\"[x] \\\"y\\\" \\\\z\"");
  EXPECT_EQ(catch2_spec("exclude:me"), "\"*xclude:me\"");
}

}  // namespace
}  // namespace spore::gtest_runner
