#include "gtest_runner/options.h"

#include <gmock/gmock.h>

#include <filesystem>

namespace spore::gtest_runner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<ParsedOptions> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "spore-test");
  return parse_options(static_cast<int>(arguments.size()), arguments.data(),
                       [](const std::string&) { return std::nullopt; });
}

TEST(Options, BelongToTheRunnerBeforeTheBinaryAndToItAfter) {
  const auto parsed = parse({"--shards", "3", "--env", "A=b=c", "--memory", "2G", "--timeout",
                             "1.5", "./tests", "--shards", "9", "--gtest_filter=X.*", "x"});
  ASSERT_TRUE(parsed) << parsed.error().message();
  const Options& options = *parsed->options;
  EXPECT_EQ(options.binary, "./tests");
  EXPECT_EQ(options.shards, 3U);
  EXPECT_EQ(options.env.at("A"), "b=c");
  EXPECT_EQ(options.memory_mib, 2048U);
  EXPECT_FALSE(options.memory_budget);
  EXPECT_EQ(parse({"--memory-budget", "1G", "./t"})->options->memory_budget, 1024ULL * 1024 * 1024);
  EXPECT_EQ(options.timeout, std::chrono::milliseconds(1500));
  EXPECT_EQ(options.gtest.filter, "X.*");
  EXPECT_THAT(options.gtest.rest, ElementsAre("--shards", "9", "x"));
}

TEST(Options, ChooseHowTestsAreDistributed) {
  EXPECT_EQ(parse({"./tests"})->options->dist, std::nullopt);
  EXPECT_EQ(parse({"--spore-dist", "load", "./tests"})->options->dist, Dist::kLoad);
  EXPECT_EQ(parse({"--spore-dist", "shard", "./tests"})->options->dist, Dist::kShard);
  EXPECT_EQ(parse({"--spore-dist=each", "./tests"})->options->dist, Dist::kEach);
  EXPECT_EQ(parse({"./tests"})->options->scope, Scope::kSession);
  EXPECT_EQ(parse({"--scope=suite", "./tests"})->options->scope, Scope::kSuite);
  EXPECT_EQ(parse({"--spore-scope", "suite", "./tests"})->options->scope, Scope::kSuite);
  EXPECT_THAT(parse({"--scope=class", "./t"}).error().message(), HasSubstr("class"));
  EXPECT_FALSE(parse({"./tests"})->options->skip_teardown);
  EXPECT_TRUE(parse({"--teardown=skip", "./tests"})->options->skip_teardown);
  EXPECT_THAT(parse({"--teardown=no", "./t"}).error().message(), HasSubstr("no"));
  EXPECT_THAT(parse({"--spore-dist=every", "./t"}).error().message(), HasSubstr("every"));
}

TEST(Options, RepeatInCleanMachinesOnly) {
  const auto parsed = parse({"--repeat=20", "./tests"});
  EXPECT_EQ(parsed->options->repeat, 20U);
  EXPECT_EQ(parsed->options->dist, Dist::kEach);
  EXPECT_TRUE(parse({"--repeat=20", "--spore-dist=each", "./tests"}));
  EXPECT_THAT(parse({"--repeat=2", "--spore-dist=load", "./t"}).error().message(),
              HasSubstr("leave --spore-dist out"));
  EXPECT_THAT(parse({"--repeat=2", "./t", "--gtest_repeat=3"}).error().message(),
              HasSubstr("leave --gtest_repeat out"));
  EXPECT_THAT(parse({"--repeat=0", "./t"}).error().message(), HasSubstr("--repeat 0"));
}

TEST(Options, TestsRunWhereTheUserIs) {
  const auto here = parse({"./tests"});
  EXPECT_EQ(here->options->workdir, std::filesystem::current_path());
  EXPECT_TRUE(here->options->makes_workdir);
  const auto there = parse({"--workdir", "/srv", "./tests"});
  EXPECT_EQ(there->options->workdir, "/srv");
  EXPECT_FALSE(there->options->makes_workdir) << "a directory of the image, or a mistake";
}

TEST(Options, AreAtLeastTwoShards) {
  EXPECT_GE(parse({"./tests"})->options->shards, 2U);
  EXPECT_EQ(parse({"-j", "3", "./tests"})->options->shards, 3U);
  EXPECT_EQ(parse({"--jobs=4", "./tests"})->options->shards, 4U);
}

TEST(Options, RefuseNonsenseByName) {
  EXPECT_THAT(parse({"--shards", "0", "./t"}).error().message(), HasSubstr("--shards 0"));
  EXPECT_THAT(parse({}).error().message(), HasSubstr("no test binary"));
  EXPECT_THAT(parse({"--shrads", "2", "./t"}).error().message(), HasSubstr("--shrads"));
  EXPECT_THAT(parse({"--memory", "12", "./t"}).error().message(), HasSubstr("--memory 12"));
  EXPECT_THAT(parse({"--memory", "99999999999G", "./t"}).error().message(), HasSubstr("--memory"));
  EXPECT_THAT(parse({"--memory-budget", "31M", "./t"}).error().message(),
              HasSubstr("--memory-budget 31M: give MiB, or a number with M or G, from 32M"));
  EXPECT_THAT(parse({"--cpus", "9", "./t"}).error().message(), HasSubstr("--cpus 9"));
  EXPECT_THAT(parse({"--env", "=x", "./t"}).error().message(), HasSubstr("NAME=VALUE"));
  EXPECT_THAT(parse({"--mount", "/no/such:/x", "./t"}).error().message(), HasSubstr("/no/such"));
  EXPECT_THAT(parse({"--mount", "/tmp:x", "./t"}).error().message(), HasSubstr("begin with /"));
  EXPECT_THAT(parse({"--engine", "magic", "./t"}).error().message(), HasSubstr("magic"));
}

TEST(Options, LimitTheWholeRun) {
  EXPECT_FALSE(parse({"./t"})->options->timeout_all);
  EXPECT_EQ(parse({"--timeout-all=2.5", "./t"})->options->timeout_all,
            std::chrono::milliseconds(2500));
  EXPECT_THAT(parse({"--timeout-all", "-1", "./t"}).error().message(),
              HasSubstr("--timeout-all -1: give a number of seconds"));
  EXPECT_THAT(parse({"--timeout-all", "nan", "./t"}).error().message(),
              HasSubstr("--timeout-all nan"));
}

TEST(Options, NameFilesForReports) {
  const auto parsed = parse({"--html=page.html", "--json", "run.json", "./t"});
  EXPECT_EQ(parsed->options->html, "page.html");
  EXPECT_EQ(parsed->options->json, "run.json");
}

TEST(Options, HelpIsText) {
  const auto parsed = parse({"--help"});
  ASSERT_TRUE(parsed);
  EXPECT_FALSE(parsed->options);
  EXPECT_THAT(parsed->text, HasSubstr("--setup"));
}

}  // namespace
}  // namespace spore::gtest_runner
