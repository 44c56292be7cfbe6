#include "cli/machines/copy_paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace spore::cli::machines {
namespace {

using ::testing::HasSubstr;

TEST(ParseCopyEnd, TellsMachinesFromHostPaths) {
  const auto machine = parse_copy_end("web:/srv/a:b");
  ASSERT_TRUE(machine);
  EXPECT_EQ(machine->machine, "web");
  EXPECT_EQ(machine->path, "/srv/a:b");
  for (const char* word : {"file", "/a:b", "./a:b", "../a:b", "dir/", "."}) {
    const auto host = parse_copy_end(word);
    ASSERT_TRUE(host) << word;
    EXPECT_EQ(host->machine, "");
    EXPECT_EQ(host->path, word);
  }
  for (const char* word : {"", "web:", ":x", "Web:/x", "a b:/x"}) {
    EXPECT_FALSE(parse_copy_end(word)) << word;
  }
  EXPECT_THAT(parse_copy_end("Web:/x").error().message(), HasSubstr("./"));
}

TEST(CleanPath, IsAbsoluteAndPlain) {
  EXPECT_EQ(clean_path("a", "/b"), "/b/a");
  EXPECT_EQ(clean_path("a/", "/"), "/a");
  EXPECT_EQ(clean_path("/a/./b//c/..", "/x"), "/a/b");
  EXPECT_EQ(clean_path("/a/.", "/x"), "/a");
  EXPECT_EQ(clean_path(".", "/x/y"), "/x/y");
  EXPECT_EQ(clean_path("..", "/x/y"), "/x");
  EXPECT_EQ(clean_path("/", "/x"), "/");
  EXPECT_EQ(clean_path("../../..", "/x"), "/");
}

struct Rule {
  const char* source;
  bool is_directory;
  const char* target;
  PathKind kind;
  PathKind parent;
  const char* directory;  // nullptr: refused
  const char* name;
};

class PlanCopy : public ::testing::TestWithParam<Rule> {};

TEST_P(PlanCopy, FollowsTheRules) {
  const Rule& rule = GetParam();
  const auto plan = plan_copy({rule.source, "/here", rule.is_directory},
                              {rule.target, "/", "in the machine", rule.kind, rule.parent});
  SCOPED_TRACE(std::string(rule.source) + " to " + rule.target);
  ASSERT_EQ(plan.has_value(), rule.directory != nullptr);
  if (plan) {
    EXPECT_EQ(plan->directory, rule.directory);
    EXPECT_EQ(plan->name, rule.name);
  } else {
    EXPECT_THAT(plan.error().message(), HasSubstr(rule.target));
  }
}

constexpr auto kNo = PathKind::kMissing;
constexpr auto kFile = PathKind::kFile;
constexpr auto kDir = PathKind::kDirectory;

INSTANTIATE_TEST_SUITE_P(
    AllOfThem, PlanCopy,
    ::testing::Values(
        // A file: into a directory, over a file, under a new name.
        Rule{"f", false, "/d", kDir, kDir, "/d", "f"},
        Rule{"a/f", false, "d/", kDir, kDir, "/d", "f"},
        Rule{"f", false, "/d/g", kFile, kDir, "/d", "g"},
        Rule{"f", false, "/d/g", kNo, kDir, "/d", "g"},
        Rule{"f", false, "/d/g/", kNo, kDir, nullptr, ""},
        Rule{"f", false, "/d/g/", kFile, kDir, nullptr, ""},
        Rule{"f", false, "/no/g", kNo, kNo, nullptr, ""},
        Rule{"f", false, "/d/f/g", kNo, kFile, nullptr, ""},
        Rule{"f/", false, "/d", kDir, kDir, nullptr, ""},
        Rule{"f/.", false, "/d", kDir, kDir, nullptr, ""},
        // A directory: into one, under a new name, its content only.
        Rule{"s", true, "/d", kDir, kDir, "/d", "s"}, Rule{"s/", true, "/d", kDir, kDir, "/d", "s"},
        Rule{"s/.", true, "/d", kDir, kDir, "/d", ""}, Rule{".", true, "/d", kDir, kDir, "/d", ""},
        Rule{"..", true, "/d", kDir, kDir, "/d", ""}, Rule{"/", true, "/d", kDir, kDir, "/d", ""},
        Rule{"s", true, "/d/n", kNo, kDir, "/d", "n"},
        Rule{"s", true, "/d/n/", kNo, kDir, "/d", "n"},
        Rule{"s/.", true, "/d/n", kNo, kDir, "/d", "n"},
        Rule{"s", true, "/d/f", kFile, kDir, nullptr, ""},
        Rule{"s", true, "/no/n", kNo, kNo, nullptr, ""}));

}  // namespace
}  // namespace spore::cli::machines
