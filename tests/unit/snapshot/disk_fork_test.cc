#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>

#include "spore/disk.h"
#include "unit/snapshot/disk_sample.h"

namespace spore::snapshot::test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(DiskFork, ChildrenAreManifests) {
  const TemporaryFolder folder;
  const std::string a = write_sample(folder.path("a"), {.annotations = {{"k", "v"}}});
  const auto forks = fork_spore(a, 3, folder.path("kids"), {.name = "job", .user = {{"x", "y"}}});
  ASSERT_TRUE(forks) << forks.error().message();
  EXPECT_EQ(forks->path, folder.path("kids"));
  ASSERT_EQ(forks->children.size(), 3U);
  EXPECT_THAT(names_in(folder.path("kids")), ElementsAre("000000", "000001", "000002"));
  EXPECT_THAT(names_in(folder.path("kids/000002")),
              ElementsAre("manifest.json", "manifest.sha256", "parent"));
  const auto parent = SporeDirectory::open(a);
  const auto child = SporeDirectory::open(folder.path("kids/000002"));
  ASSERT_TRUE(child) << child.error().message();
  EXPECT_EQ((*child)->id(), forks->children[2].id);
  EXPECT_EQ((*child)->path(), forks->children[2].path);
  EXPECT_EQ((*child)->manifest().parent, (*parent)->id());
  EXPECT_EQ((*child)->manifest().annotations, (*parent)->manifest().annotations);
  EXPECT_EQ((*child)->manifest().platform, (*parent)->manifest().platform);
  EXPECT_EQ((*child)->manifest().sections, (*parent)->manifest().sections);
  EXPECT_EQ((*child)->manifest().generation.id, (*parent)->manifest().generation.id);
  const ForkParameters& fork = (*child)->manifest().fork.value();
  EXPECT_EQ(fork.child_index, 2U);
  EXPECT_EQ(fork.child_count, 3U);
  EXPECT_EQ(fork.shard_index, 2U);
  EXPECT_EQ(fork.shard_count, 3U);
  EXPECT_EQ(fork.name, "job-2");
  EXPECT_EQ(fork.user.at("x"), "y");
  EXPECT_TRUE((*child)->ram_section());
}

TEST(DiskFork, AThousandHaveThreeFilesEach) {
  const TemporaryFolder folder;
  const std::string a = write_sample(folder.path("a"));
  const auto forks = fork_spore(a, 1000, folder.path("kids"));
  ASSERT_TRUE(forks) << forks.error().message();
  std::set<std::string> ids;
  for (const ForkedSpore& child : forks->children) {
    ids.insert(child.id);
  }
  EXPECT_EQ(ids.size(), 1000U);
  std::size_t files = 0;
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder.path("kids"))) {
    if (entry.is_regular_file()) {
      ++files;
      bytes += entry.file_size();
    }
  }
  EXPECT_EQ(files, 3000U);
  EXPECT_LT(bytes, 1000 * 3000U);  // no RAM
  EXPECT_TRUE(SporeDirectory::open(folder.path("kids/000999")));
}

TEST(DiskFork, ChildrenHaveChildrenAndMoveWithTheirParent) {
  const TemporaryFolder folder;
  const std::string a = write_sample(folder.path("all/a"));
  ASSERT_TRUE(fork_spore(a, 1, folder.path("all/kids")));
  ASSERT_TRUE(fork_spore(folder.path("all/kids/000000"), 2, folder.path("all/more")));
  fs::rename(folder.path("all"), folder.path("moved"));
  const auto report = inspect_spore(folder.path("moved/more/000001"), {.verify = true});
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->parents.size(), 2U);
  EXPECT_EQ(report->fork->child_index, 1U);
  EXPECT_TRUE(report->bad.empty());
}

struct Refused {
  std::uint32_t count;
  DiskForkOptions options;
};

TEST(DiskFork, RefusesWhatNoMachineCouldBe) {
  const TemporaryFolder folder;
  const std::string a = write_sample(folder.path("a"));
  for (const Refused& refused :
       {Refused{0, {}}, Refused{kMaxDiskForks + 1, {}}, Refused{1, {.name = std::string(64, 'n')}},
        Refused{1, {.name = "\xff"}},
        Refused{1, {.user = {{"k", std::string(kMaxForkUserBytes, 'v')}}}},
        Refused{1, {.user = {{"k", "\xff"}}}}}) {
    const auto forks = fork_spore(a, refused.count, folder.path("kids"), refused.options);
    ASSERT_FALSE(forks);
    EXPECT_EQ(forks.error().code(), ErrorCode::kInvalidArgument) << forks.error().message();
    EXPECT_THAT(forks.error().message(), HasSubstr(a));
  }
  EXPECT_THAT(names_in(folder.path()), ElementsAre("a"));
}

TEST(DiskFork, NeverTakesThePlaceOfSomething) {
  const TemporaryFolder folder;
  const std::string a = write_sample(folder.path("a"));
  fs::create_directory(folder.path("kids"));  // empty: rename() alone would replace it
  const auto forks = fork_spore(a, 2, folder.path("kids"));
  ASSERT_FALSE(forks);
  EXPECT_EQ(forks.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(names_in(folder.path()), ElementsAre("a", "kids"));
  EXPECT_THAT(names_in(folder.path("kids")), ElementsAre());
}

TEST(DiskFork, StopsAtTheDepthThatCanBeRead) {
  const TemporaryFolder folder;
  std::string path = write_sample(folder.path("a"));
  bool refused = false;
  for (int depth = 0; depth < 80 && !refused; ++depth) {
    const std::string out = folder.path("d" + std::to_string(depth));
    const auto forks = fork_spore(path, 1, out);
    refused = !forks;
    if (forks) {
      path = out + "/000000";
      ASSERT_TRUE(SporeDirectory::open(path));
    } else {
      EXPECT_FALSE(fs::exists(out));
    }
  }
  EXPECT_TRUE(refused);
}

}  // namespace
}  // namespace spore::snapshot::test
