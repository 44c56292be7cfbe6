#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "snapshot/staging.h"
#include "snapshot/tar.h"
#include "spore/disk.h"
#include "unit/snapshot/disk_sample.h"

namespace spore::snapshot::test {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Makes a tree look as if nobody had written to it for years.
void age(const std::string& path) {
  const std::array<timespec, 2> long_ago{{{1, 0}, {1, 0}}};
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    ASSERT_EQ(::utimensat(AT_FDCWD, entry.path().c_str(), long_ago.data(), AT_SYMLINK_NOFOLLOW), 0);
  }
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), long_ago.data(), AT_SYMLINK_NOFOLLOW), 0);
}

// Makes a file that its spore does not need, named by `digest`.
std::string add_chunk(const std::string& spore, const std::string& digest) {
  const std::string path = spore + "/chunks/" + digest + ".zst";
  write_all(path, "something");
  return path;
}

std::vector<std::string> found(const std::string& folder, const GarbageOptions& options = {}) {
  const auto report = collect_garbage(folder, options);
  EXPECT_TRUE(report) << report.error().message();
  std::vector<std::string> items;
  for (const Garbage& item : report->items) {
    items.push_back(item.kind + " " + item.path);
    EXPECT_GT(item.bytes, 0U);
  }
  return items;
}

const std::string kStagingTail = ".0123456789abcdef.tmp";

TEST(StagingName, IsThatOfThingsInTheMaking) {
  EXPECT_TRUE(is_staging_name(fs::path(staging_path("/x/a.spore")).filename().string()));
  EXPECT_TRUE(is_staging_name(".a" + kStagingTail));
  EXPECT_FALSE(is_staging_name("a" + kStagingTail));
  EXPECT_FALSE(is_staging_name("." + kStagingTail.substr(1)));
  EXPECT_FALSE(is_staging_name(".a.0123456789abcdeg.tmp"));
  EXPECT_FALSE(is_staging_name(".a.0123456789abcde.tmp"));
  EXPECT_FALSE(is_staging_name(""));
  EXPECT_FALSE(is_staging_name(".tmp"));
}

TEST(Garbage, FindsWhatACrashLeft) {
  const TemporaryFolder folder;
  const std::string spore = write_sample(folder.path("deep/down/a"));
  const std::string staging = folder.path("deep/.b" + kStagingTail);
  fs::copy(spore, staging, fs::copy_options::recursive);
  const std::string bundle = folder.path(".b.tar" + kStagingTail);
  write_all(bundle, tar_header("bundle.json", 5) + "abcde");
  EXPECT_THAT(found(folder.path()), IsEmpty());  // they may be in the making
  const auto told = collect_garbage(folder.path());
  EXPECT_THAT(told->notes, ElementsAre(HasSubstr(bundle), HasSubstr(staging)));
  EXPECT_THAT(found(folder.path(), {.all = true}),
              ElementsAre("staging " + bundle, "staging " + staging));
  age(staging);
  EXPECT_THAT(found(folder.path()), ElementsAre("staging " + staging));
  EXPECT_TRUE(fs::exists(staging));
  const auto report = collect_garbage(folder.path(), {.dry_run = false});
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_TRUE(report->removed);
  EXPECT_GT(report->bytes, 0U);
  EXPECT_FALSE(fs::exists(staging));
  EXPECT_TRUE(fs::exists(bundle));
  EXPECT_TRUE(inspect_spore(spore, {.verify = true})->bad.empty());
}

TEST(Garbage, LeavesAloneWhatItDoesNotRecognise) {
  const TemporaryFolder folder;
  const std::string spore = write_sample(folder.path("a"));
  const std::string mine = folder.path(".mine" + kStagingTail);
  write_all(mine + "/thesis.tex", "years of work");
  const std::string linked = folder.path(".linked" + kStagingTail);
  fs::create_directory(linked);
  fs::create_symlink(folder.path("a"), linked + "/manifest.json");
  write_all(folder.path(".notes" + kStagingTail), "not a bundle");
  write_all(spore + "/notes.txt", "mine");
  write_all(spore + "/chunks/notes.txt", "mine");
  fs::create_directory(spore + "/chunks/" + std::string(64, 'a') + ".zst");
  const TemporaryFolder elsewhere;
  fs::create_directory(elsewhere.path(".x" + kStagingTail));
  fs::create_directory_symlink(elsewhere.path(), folder.path("link"));
  const auto report = collect_garbage(folder.path(), {.dry_run = false, .all = true});
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_THAT(report->items, IsEmpty());
  EXPECT_THAT(report->notes, ElementsAre(HasSubstr(linked), HasSubstr("thesis.tex")));
  EXPECT_TRUE(fs::exists(mine + "/thesis.tex"));
  EXPECT_TRUE(fs::exists(elsewhere.path(".x" + kStagingTail)));
}

TEST(Garbage, FindsFilesThatNobodyNeeds) {
  const TemporaryFolder folder;
  write_all(folder.path("root.squashfs"), "an image");
  const std::string spore =
      write_sample(folder.path("a"), {.images = {folder.path("root.squashfs")}});
  const std::string chunk = add_chunk(spore, std::string(64, '1'));
  const std::string section = spore + "/sections/" + std::string(64, '2') + ".json";
  const std::string image = spore + "/images/" + std::string(64, '3');
  write_all(section, "{}");
  write_all(image, "x");
  write_all(spore + "/images/" + base::sha256_of("an image"), "an image");
  EXPECT_THAT(found(folder.path()),
              ElementsAre("chunk " + chunk, "section " + section, "image " + image));
  EXPECT_THAT(found(spore).size(), 3U);  // the spore itself is a folder, too
  ASSERT_TRUE(collect_garbage(folder.path(), {.dry_run = false}));
  EXPECT_FALSE(fs::exists(chunk) || fs::exists(section) || fs::exists(image));
  EXPECT_THAT(found(folder.path()), IsEmpty());
  EXPECT_TRUE(inspect_spore(spore, {.verify = true})->bad.empty());
}

TEST(Garbage, KeepsWhatAChildNeeds) {
  const TemporaryFolder folder;
  const std::string base = write_sample(folder.path("spores/a"));
  const std::string child =
      write_sample(folder.path("spores/b"), {.pages = {{5, 55}}, .parent = base});
  // As a bundle has it: in the parent, where more than one child finds it.
  const std::string chunk = a_chunk_of(child);
  const std::string kept = base + "/chunks/" + fs::path(chunk).filename().string();
  fs::rename(chunk, kept);
  EXPECT_THAT(found(folder.path()), IsEmpty());
  EXPECT_THAT(found(base), IsEmpty());  // the child is beside it
  fs::remove_all(child);
  EXPECT_THAT(found(folder.path()), ElementsAre("chunk " + kept));
}

TEST(Garbage, KeepsAllWhenASporeCannotBeRead) {
  const TemporaryFolder folder;
  const std::string base = write_sample(folder.path("a"));
  const std::string child = write_sample(folder.path("b"), {.pages = {{5, 55}}, .parent = base});
  add_chunk(base, std::string(64, '1'));
  flip_byte(child + "/manifest.json", 9);
  const auto report = collect_garbage(folder.path());
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_THAT(report->items, IsEmpty());
  EXPECT_THAT(report->notes, ElementsAre(HasSubstr(child)));
}

TEST(Garbage, OtherManifestsAreNoSpores) {
  const TemporaryFolder folder;
  const std::string spore = write_sample(folder.path("a"));
  add_chunk(spore, std::string(64, '1'));
  write_all(folder.path("web/manifest.json"), R"({"name":"a web page"})");
  const auto report = collect_garbage(folder.path());
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->items.size(), 1U);
  EXPECT_THAT(report->notes, IsEmpty());
  EXPECT_FALSE(remove_spore(folder.path("web"), {.force = true}));
  EXPECT_TRUE(fs::exists(folder.path("web/manifest.json")));
  fs::remove(spore + "/manifest.sha256");  // a damaged one is one
  EXPECT_THAT(collect_garbage(folder.path())->items, IsEmpty());
  EXPECT_TRUE(remove_spore(spore, {.force = true}));
}

TEST(Garbage, FindsFlatBackingsWithoutProof) {
  const TemporaryFolder folder;
  const std::string spore = write_sample(folder.path("a"), {.flat = true});
  EXPECT_THAT(found(folder.path()), IsEmpty());
  fs::remove(spore + "/ram.proof");
  EXPECT_THAT(found(folder.path()), ElementsAre("flat " + spore + "/ram.img"));
}

TEST(Garbage, NeedsAFolder) {
  const TemporaryFolder folder;
  EXPECT_EQ(collect_garbage(folder.path("none")).error().code(), ErrorCode::kNotFound);
  write_all(folder.path("file"), "");
  EXPECT_EQ(collect_garbage(folder.path("file")).error().code(), ErrorCode::kInvalidArgument);
}

TEST(Remove, TakesTheWholeSpore) {
  const TemporaryFolder folder;
  const std::string spore = write_sample(folder.path("a"), {.flat = true});
  const auto removed = remove_spore(spore + "/");
  ASSERT_TRUE(removed) << removed.error().message();
  EXPECT_EQ(removed->path, spore);
  EXPECT_EQ(removed->id.size(), 64U);
  EXPECT_GT(removed->bytes, 0U);
  EXPECT_THAT(names_in(folder.path()), IsEmpty());
}

TEST(Remove, RefusesWhatIsNoSpore) {
  const TemporaryFolder folder;
  const std::string spore = write_sample(folder.path("a"));
  fs::create_directory(folder.path("empty"));
  fs::create_directory_symlink(spore, folder.path("link"));
  for (const char* name : {"empty", "link", "a/manifest.json"}) {
    const auto removed = remove_spore(folder.path(name), {.force = true});
    ASSERT_FALSE(removed) << name;
    EXPECT_EQ(removed.error().code(), ErrorCode::kInvalidArgument) << removed.error().message();
  }
  EXPECT_EQ(remove_spore(folder.path("none")).error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(inspect_spore(spore, {.verify = true})->bad.empty());
}

// Where a child may be, as seen from its parent "a".
class RemoveWithChild : public ::testing::TestWithParam<const char*> {};

TEST_P(RemoveWithChild, IsRefused) {
  const TemporaryFolder folder;
  const std::string spore = write_sample(folder.path("all/a"));
  const std::string child = folder.path("all/") + GetParam();
  fs::create_directories(fs::path(child).parent_path());
  write_sample(child, {.pages = {{9, 9}}, .parent = spore});
  const auto removed = remove_spore(spore);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(removed.error().message(), HasSubstr(child));
  ASSERT_TRUE(remove_spore(spore, {.force = true}));
  EXPECT_FALSE(fs::exists(spore));
}

INSTANTIATE_TEST_SUITE_P(Places, RemoveWithChild,
                         ::testing::Values("b", "kids/000000", "a/kids/000000"));

TEST(Remove, AParentInsideABundleIsNeededByWhatIsAroundIt) {
  const TemporaryFolder folder;
  const std::string base = write_sample(folder.path("a"));
  const std::string child = write_sample(folder.path("b"), {.parent = base});
  fs::create_directory(child + "/parents");
  fs::rename(base, child + "/parents/x");
  write_all(child + "/parent", "parents/x");
  ASSERT_TRUE(SporeDirectory::open(child));
  EXPECT_FALSE(remove_spore(child + "/parents/x"));
  ASSERT_TRUE(remove_spore(child));
  EXPECT_THAT(names_in(folder.path()), IsEmpty());
}

TEST(Remove, WantsForceForWhatItDoesNotKnow) {
  const TemporaryFolder folder;
  const std::string noted = write_sample(folder.path("a"));
  write_all(noted + "/notes.txt", "mine");
  const auto with_notes = remove_spore(noted);
  ASSERT_FALSE(with_notes);
  EXPECT_THAT(with_notes.error().message(), HasSubstr("notes.txt"));
  EXPECT_TRUE(fs::exists(noted + "/notes.txt"));
  ASSERT_TRUE(remove_spore(noted, {.force = true}));

  const std::string damaged = write_sample(folder.path("b"));
  flip_byte(damaged + "/manifest.json", 3);
  EXPECT_EQ(remove_spore(damaged).error().code(), ErrorCode::kCorrupt);
  const auto removed = remove_spore(damaged, {.force = true});
  ASSERT_TRUE(removed) << removed.error().message();
  EXPECT_EQ(removed->id, "");
  EXPECT_THAT(names_in(folder.path()), IsEmpty());
}

TEST(Reports, HaveJson) {
  const TemporaryFolder folder;
  const std::string spore = write_sample(folder.path("a"));
  add_chunk(spore, std::string(64, '1'));
  const auto garbage = nlohmann::json::parse(json_text(*collect_garbage(folder.path())));
  EXPECT_EQ(garbage.at("items").at(0).at("kind"), "chunk");
  EXPECT_EQ(garbage.at("removed"), false);
  const auto forks = nlohmann::json::parse(json_text(*fork_spore(spore, 1, folder.path("k"))));
  EXPECT_EQ(forks.at("children").size(), 1U);
  const auto difference =
      nlohmann::json::parse(json_text(*diff_spores(spore, folder.path("k/000000"))));
  EXPECT_EQ(difference.at("same"), false);
  const auto removed = nlohmann::json::parse(json_text(*remove_spore(folder.path("k/000000"))));
  EXPECT_EQ(removed.at("path"), folder.path("k/000000"));
}

}  // namespace
}  // namespace spore::snapshot::test
