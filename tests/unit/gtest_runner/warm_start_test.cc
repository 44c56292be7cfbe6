// Runner from end to end where machines are kept, and what their keys and notes are made of.
#include "gtest_runner/run/warm_start.h"

#include "unit/gtest_runner/runner_harness.h"

namespace spore::gtest_runner {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

TEST_F(WarmTest, WhatDiffersFromTheLastMachineIsSaid) {
  options_.json = directory_ + "/run.json";
  options_.gtest.filter = "Shared.*";
  ASSERT_EQ(run("runner_subject_mixed").value(), 0);
  EXPECT_EQ(count(sink_.err_text, "the machine of the last run"), 0U) << "there was none";
  options_.memory_mib = 300;
  options_.env["A"] = "1";
  ASSERT_EQ(run("runner_subject_mixed").value(), 0);
  EXPECT_THAT(sink_.err_text,
              HasSubstr("spore-test: not the machine of the last run, for it differs in memory, "
                        "the environment variable A\n"));
  const auto start = nlohmann::json::parse(slurp(options_.json))["start"];
  EXPECT_EQ(start["how"], "booted");
  EXPECT_THAT(start["changed"], ::testing::ElementsAre("memory", "the environment variable A"));
  sink_.err_text.clear();
  ASSERT_EQ(run("runner_subject_mixed").value(), 0);
  EXPECT_EQ(count(sink_.err_text, "differs"), 0U);
  EXPECT_EQ(nlohmann::json::parse(slurp(options_.json))["start"]["how"], "kept machine");
  EXPECT_EQ(shortened({"a", "b", "c", "d", "e", "f"}), "a, b, c, d and 2 more");
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
                         .suites = "A\n",
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

}  // namespace
}  // namespace spore::gtest_runner
