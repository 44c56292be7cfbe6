#include "gtest_runner/frameworks/gtest_flags.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>
#include <map>

namespace spore::gtest_runner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Lookup lookup(std::map<std::string, std::string> variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
}

TEST(GtestFlags, TakesItsOwnAndHandsOnTheRest) {
  const auto flags = parse_gtest_flags(
      {"--gtest_filter=A.*-A.B", "--gtest_brief", "--gtest_print_time=0", "--gtest_repeat=3",
       "--gtest_catch_exceptions=0", "--colour=blue", "file", "--gtest_shuffle=false"},
      lookup({}));
  ASSERT_TRUE(flags);
  EXPECT_EQ(flags->filter, "A.*-A.B");
  EXPECT_TRUE(flags->brief);
  EXPECT_FALSE(flags->print_time);
  EXPECT_FALSE(flags->shuffle);
  EXPECT_EQ(flags->repeat, 3);
  EXPECT_THAT(flags->rest, ElementsAre("--gtest_catch_exceptions=0", "--colour=blue", "file"));
}

TEST(GtestFlags, FailFastIsForTheRunnerAndTheProgram) {
  const auto given = parse_gtest_flags({"--gtest_fail_fast"}, lookup({}));
  EXPECT_TRUE(given->fail_fast);
  EXPECT_THAT(given->rest, ElementsAre("--gtest_fail_fast"));
  const auto lookup_bazel = lookup({{"TESTBRIDGE_TEST_RUNNER_FAIL_FAST", "1"}});
  EXPECT_TRUE(parse_gtest_flags({}, lookup_bazel)->fail_fast);
  EXPECT_FALSE(parse_gtest_flags({"--gtest_fail_fast=0"}, lookup_bazel)->fail_fast);
  EXPECT_FALSE(parse_gtest_flags({}, lookup({{"TESTBRIDGE_TEST_RUNNER_FAIL_FAST", "1"},
                                             {"GTEST_FAIL_FAST", "0"}}))
                   ->fail_fast);
}

TEST(GtestFlags, TheCommandLineWinsOverTheEnvironment) {
  const auto flags =
      parse_gtest_flags({"--gtest_filter=B.*"}, lookup({{"GTEST_FILTER", "A.*"},
                                                        {"XML_OUTPUT_FILE", "/out/test.xml"},
                                                        {"GTEST_ALSO_RUN_DISABLED_TESTS", "1"},
                                                        {"GTEST_PRINT_TIME", "0"},
                                                        {"GTEST_DEATH_TEST_STYLE", "threadsafe"}}));
  ASSERT_TRUE(flags);
  EXPECT_EQ(flags->filter, "B.*");
  EXPECT_EQ(flags->output, "xml:/out/test.xml");
  EXPECT_TRUE(flags->also_run_disabled_tests);
  EXPECT_FALSE(flags->print_time);
  EXPECT_EQ(flags->env.at("GTEST_DEATH_TEST_STYLE"), "threadsafe");
}

TEST(GtestFlags, ReadsAFlagFileOfTheHost) {
  const std::string path = ::testing::TempDir() + "spore_flagfile-" + std::to_string(::getpid());
  std::ofstream(path) << "--gtest_filter=X.*\n\n--own=1\n";
  const auto flags = parse_gtest_flags({"--gtest_flagfile=" + path}, lookup({}));
  ASSERT_TRUE(flags);
  EXPECT_EQ(flags->filter, "X.*");
  EXPECT_THAT(flags->rest, ElementsAre("--own=1"));

  std::ofstream(path) << "--gtest_flagfile=" << path << "\n";
  const auto endless = parse_gtest_flags({"--gtest_flagfile=" + path}, lookup({}));
  ASSERT_FALSE(endless);
  std::remove(path.c_str());
}

TEST(GtestFlags, RefusesANumberThatIsNone) {
  const auto flags = parse_gtest_flags({"--gtest_repeat=often"}, lookup({}));
  ASSERT_FALSE(flags);
  EXPECT_THAT(flags.error().message(), HasSubstr("--gtest_repeat"));
}

TEST(OuterShard, IsReadAndChecked) {
  const auto none = parse_outer_shard(lookup({}));
  ASSERT_TRUE(none);
  EXPECT_EQ(none->total, 1);

  const auto shard =
      parse_outer_shard(lookup({{"GTEST_TOTAL_SHARDS", "4"}, {"GTEST_SHARD_INDEX", "3"}}));
  ASSERT_TRUE(shard);
  EXPECT_EQ(shard->total, 4);
  EXPECT_EQ(shard->index, 3);

  EXPECT_FALSE(parse_outer_shard(lookup({{"GTEST_TOTAL_SHARDS", "4"}})));
  const auto bazel = parse_outer_shard(lookup({{"TEST_TOTAL_SHARDS", "3"},
                                               {"TEST_SHARD_INDEX", "1"},
                                               {"TEST_SHARD_STATUS_FILE", "/s"},
                                               {"TEST_PREMATURE_EXIT_FILE", "/p"}}));
  EXPECT_EQ(bazel->total, 3);
  EXPECT_EQ(bazel->index, 1);
  EXPECT_EQ(bazel->status_file, "/s");
  EXPECT_EQ(bazel->premature_exit_file, "/p");
  const auto both = parse_outer_shard(lookup({{"TEST_TOTAL_SHARDS", "3"},
                                              {"TEST_SHARD_INDEX", "1"},
                                              {"GTEST_TOTAL_SHARDS", "4"},
                                              {"GTEST_SHARD_INDEX", "2"}}));
  EXPECT_EQ(both->total, 4);
  EXPECT_EQ(both->index, 2);
  EXPECT_THAT(parse_outer_shard(lookup({{"TEST_TOTAL_SHARDS", "3"}})).error().message(),
              ::testing::HasSubstr("TEST_SHARD_INDEX is not"));
  EXPECT_FALSE(
      parse_outer_shard(lookup({{"GTEST_TOTAL_SHARDS", "4"}, {"GTEST_SHARD_INDEX", "4"}})));
  EXPECT_FALSE(
      parse_outer_shard(lookup({{"GTEST_TOTAL_SHARDS", "x"}, {"GTEST_SHARD_INDEX", "0"}})));
}

}  // namespace
}  // namespace spore::gtest_runner
