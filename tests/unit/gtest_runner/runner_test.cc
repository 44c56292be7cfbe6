// Runner from end to end, on machines that are processes of this host (support/fake_session.h).
#include "gtest_runner/runner.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>
#include <regex>

#include "spore/kept.h"
#include "support/fake_session.h"

namespace spore::gtest_runner {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class Captured : public TextSink {
 public:
  void out(std::string_view text) override { append(out_text, text); }
  void err(std::string_view text) override { append(err_text, text); }
  std::string out_text;
  std::string err_text;
  std::function<void()> on_text;

 private:
  void append(std::string& to, std::string_view text) {
    const std::lock_guard lock(mutex_);
    to += text;
    if (on_text) {
      on_text();
    }
  }
  std::mutex mutex_;
};

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What a report says but for times: the same for a run with and without children.
std::string timeless_xml(const std::string& path) {
  pugi::xml_document document;
  document.load_file(path.c_str());
  for (const auto& node : document.select_nodes("//*[@time]")) {
    node.node().remove_attribute("time");
    node.node().remove_attribute("timestamp");
  }
  std::ostringstream text;
  document.save(text, " ");
  // A parameter that is a pointer has another value in every process.
  return std::regex_replace(text.str(), std::regex("0x[0-9a-f]+"), "(pointer)");
}

nlohmann::json timeless_json(nlohmann::json value) {
  if (value.is_object()) {
    value.erase("time");
    value.erase("timestamp");
  }
  if (value.is_structured()) {
    for (auto& entry : value) {
      entry = timeless_json(entry);
    }
  }
  return value;
}

class RunnerTest : public ::testing::Test {
 protected:
  RunnerTest() {
    directory_ = ::testing::TempDir() + "/spore_runner_XXXXXX";
    if (mkdtemp(directory_.data()) == nullptr) {
      std::abort();
    }
    options_.guest_scratch = directory_;
    options_.workdir = "/";
    options_.shards = 3;
    options_.shards_given = true;
  }
  ~RunnerTest() override {
    EXPECT_EQ(session_.log().open_machines, 0) << "a machine was left behind";
    std::filesystem::remove_all(directory_);
  }

  static std::string path_of(const std::string& subject) {
    return subject.starts_with('/') ? subject : fmt::format("{}/{}", SPORE_SUBJECTS, subject);
  }
  Result<int> run(const std::string& subject) {
    options_.binary = path_of(subject);
    const auto program = inspect_program(options_.binary);
    if (!program) {
      return fail(program.error());
    }
    Runner runner(session_, options_, *program, {"root.squashfs"}, sink_, false,
                  [](std::string_view) {});
    if (is_warm_) {
      runner.start_warm(start_key(options_, *program, "today"));
    }
    return runner.run();
  }
  int run_plainly(const std::string& subject, const std::string& flags) {
    return std::system(fmt::format("{} {} >/dev/null 2>&1", path_of(subject), flags).c_str());
  }

  std::string directory_;
  testing::FakeSession session_;
  Options options_;
  Captured sink_;
  bool is_warm_ = false;
};

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
  EXPECT_EQ(file_name_of(std::string(400, 'a')).size(), 150U);
}

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

// Machines are kept in a cache directory of the test.
class WarmTest : public RunnerTest {
 protected:
  WarmTest() {
    is_warm_ = true;
    setenv("SPORE_CACHE_DIR", (directory_ + "/cache").c_str(), 1);
    options_.shards = 2;
  }
  ~WarmTest() override { unsetenv("SPORE_CACHE_DIR"); }
  std::size_t boots() { return session_.log().booted.size(); }
};

TEST_F(WarmTest, TheSecondRunGoesOnFromTheFirstsMachine) {
  options_.setup = "echo setting up; echo complaining >&2";
  ASSERT_EQ(run("runner_subject_fixture").value(), 1) << "Fixture.D aborts";
  const std::string first = std::exchange(sink_.out_text, {});
  sink_.err_text.clear();
  const std::size_t executed = session_.log().executed.size();
  ASSERT_EQ(run("runner_subject_fixture").value(), 1);
  EXPECT_EQ(boots(), 1U);
  EXPECT_EQ(session_.log().executed.size(), executed) << "nothing was listed, or set up";
  EXPECT_EQ(count(sink_.out_text, "setting up\n"), 1U) << "said once more";
  EXPECT_EQ(count(sink_.err_text, "complaining\n"), 1U);
  EXPECT_EQ(count(sink_.out_text, "building the index\n"), 1U);
  EXPECT_EQ(count(sink_.out_text, "[       OK ]"), count(first, "[       OK ]"));
}

TEST_F(WarmTest, ReportsAreThoseOfAColdRun) {
  options_.gtest.output = fmt::format("xml:{}/cold.xml", directory_);
  ASSERT_EQ(run("runner_subject_mixed").value(), 1);
  options_.gtest.output = fmt::format("xml:{}/warm.xml", directory_);
  ASSERT_EQ(run("runner_subject_mixed").value(), 1);
  EXPECT_EQ(boots(), 1U);
  EXPECT_EQ(timeless_xml(directory_ + "/cold.xml"), timeless_xml(directory_ + "/warm.xml"));
}

TEST_F(WarmTest, AMachineDoesForEveryFilter) {
  options_.prepare = true;
  ASSERT_EQ(run("runner_subject_fixture").value(), 0);
  EXPECT_THAT(sink_.out_text, IsEmpty());
  EXPECT_THAT(session_.log().forked, IsEmpty());
  options_.prepare = false;
  options_.gtest.filter = "Fixture.E";
  ASSERT_EQ(run("runner_subject_fixture").value(), 0);
  EXPECT_EQ(boots(), 1U);
  EXPECT_EQ(count(sink_.out_text, "[ RUN      ] "), 1U);
  options_.dist = Dist::kShard;
  options_.gtest.filter = "Fixture.F:Fixture.G";
  ASSERT_EQ(run("runner_subject_fixture").value(), 0);
  EXPECT_EQ(count(sink_.out_text, "[ RUN      ] "), 3U);
}

TEST_F(WarmTest, PreparingForNobodyIsRefused) {
  options_.prepare = true;
  is_warm_ = false;
  EXPECT_THAT(run("runner_subject_mixed").error().message(), HasSubstr("--prepare: no later run"));
  is_warm_ = true;
  setenv("SPORE_CACHE_DIR", "/proc/none", 1);
  EXPECT_FALSE(run("runner_subject_mixed")) << "it cannot be kept there";
  options_.prepare = false;
  EXPECT_EQ(run("runner_subject_mixed").value(), 1) << "the tests say";
}

TEST_F(WarmTest, FreshStartsFromNothing) {
  ASSERT_TRUE(run("runner_subject_mixed"));
  options_.fresh = true;
  ASSERT_TRUE(run("runner_subject_mixed"));
  EXPECT_EQ(boots(), 2U);
}

TEST_F(WarmTest, ADamagedMachineIsReplaced) {
  ASSERT_TRUE(run("runner_subject_mixed"));
  const auto kept = kept_machines();
  ASSERT_EQ(kept->size(), 1U);
  std::ofstream(kept->front().path + "/machine/number") << "none";
  ASSERT_TRUE(run("runner_subject_mixed"));
  EXPECT_EQ(boots(), 2U);
  EXPECT_THAT(sink_.err_text, HasSubstr("spore-test: the machine that was kept cannot go on: "));
  ASSERT_TRUE(run("runner_subject_mixed"));
  EXPECT_EQ(boots(), 2U);
}

// What a key misses would be a wrong result.
TEST_F(WarmTest, WhateverIsGivenToAMachineIsInItsKey) {
  const Program plain{.path = "/t/program", .has_fixture_point = false};
  const Program fixed{.path = "/t/program", .has_fixture_point = true};
  const std::vector<std::pair<const char*, std::function<void(Options&)>>> changes = {
      {"--setup", [](Options& to) { to.setup = "true"; }},
      {"memory", [](Options& to) { to.memory_mib = 300; }},
      {"CPUs", [](Options& to) { to.cpus = 2; }},
      {"the working directory", [](Options& to) { to.workdir = "/tmp"; }},
      {"the environment variable A", [](Options& to) { to.env["A"] = "1"; }},
      {"the environment variable GTEST_CATCH_EXCEPTIONS",
       [](Options& to) { to.gtest.env["GTEST_CATCH_EXCEPTIONS"] = "0"; }},
      {"the program's arguments", [](Options& to) { to.gtest.rest = {"--mine"}; }},
      {"the report's format", [](Options& to) { to.gtest.output = "json"; }},
      {"--gtest_also_run_disabled_tests",
       [](Options& to) { to.gtest.also_run_disabled_tests = true; }},
      {"the seed of --gtest_shuffle",
       [](Options& to) {
         to.gtest.shuffle = true;
         to.gtest.random_seed = 3;
       }},
  };
  const KeptParts before = start_key(Options(), fixed, "today");
  for (const auto& [name, change] : changes) {
    Options options;
    change(options);
    KeptParts after = start_key(options, fixed, "today");
    EXPECT_NE(after, before) << name;
    const bool was_there = before.contains(name);
    was_there ? void(after.at(name) = before.at(name)) : void(after.erase(name));
    EXPECT_EQ(after, before) << "only " << name;
  }
  EXPECT_NE(start_key({}, fixed, "tomorrow"), before);
  EXPECT_NE(start_key({}, {.path = "/t/other"}, "today"), start_key({}, plain, "today"));
  Options arguments;
  arguments.gtest.rest = {"ab", "c"};
  Options others;
  others.gtest.rest = {"a", "bc"};
  EXPECT_NE(start_key(arguments, plain, ""), start_key(others, plain, ""));
  Options chance;
  chance.gtest.shuffle = true;
  EXPECT_THAT(start_key(chance, fixed, "today"), IsEmpty()) << "another seed each time";
  EXPECT_EQ(start_key(chance, plain, "today"), start_key({}, plain, "today"));
}

TEST(StartNotes, AreReadAsTheyWereWrittenOrNotAtAll) {
  const StartNotes notes{.list = "A.\n  b\n",
                         .listing = "<xml>",
                         .setup_output = std::string("\xff\0\n", 3),
                         .errors = "e",
                         .printed = "p",
                         .inherited = 7};
  const std::string bytes = encode(notes);
  const auto read = decode_start_notes(bytes);
  ASSERT_TRUE(read);
  EXPECT_EQ(encode(*read), bytes);
  EXPECT_EQ(read->setup_output, notes.setup_output);
  EXPECT_EQ(read->inherited, 7U);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(decode_start_notes(bytes.substr(0, length))) << length;
  }
  for (std::size_t at = 0; at < bytes.size(); ++at) {  // whatever becomes of it, it ends well
    std::string changed = bytes;
    for (int value = 0; value < 256; ++value) {
      changed[at] = static_cast<char>(value);
      (void)decode_start_notes(changed);
    }
  }
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

}  // namespace
}  // namespace spore::gtest_runner
