#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "spore/disk.h"
#include "unit/snapshot/disk_sample.h"

namespace spore::snapshot::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> bad_paths(const SporeReport& report) {
  std::vector<std::string> paths;
  for (const BadFile& bad : report.bad) {
    EXPECT_FALSE(bad.why.empty());
    paths.push_back(bad.path);
  }
  return paths;
}

TEST(Inspect, SaysWhatASporeIsMadeOf) {
  const TemporaryFolder folder;
  write_all(folder.path("root.squashfs"), "an image");
  const std::string path = write_sample(folder.path("a"), {.images = {folder.path("root.squashfs")},
                                                           .annotations = {{"what", "a test"}},
                                                           .flat = true});
  const auto report = inspect_spore(path + "/");
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->id, base::sha256_of(read_all(path + "/manifest.json")));
  EXPECT_EQ(report->path, path);
  EXPECT_EQ(report->created, 1'700'000'000U);
  EXPECT_EQ(report->created_by, "spore test");
  EXPECT_EQ(report->platform.memory_bytes, 8 * kMiB);
  EXPECT_EQ(report->annotations.at("what"), "a test");
  EXPECT_FALSE(report->fork);
  ASSERT_EQ(report->images.size(), 1U);
  EXPECT_EQ(report->images[0].found, folder.path("root.squashfs"));
  ASSERT_EQ(report->ram.size(), 1U);
  EXPECT_EQ(report->ram[0].path, path);
  EXPECT_EQ(report->ram[0].pages, 3U);
  EXPECT_EQ(report->ram[0].chunks, 2U);
  EXPECT_EQ(report->ram[0].file_bytes,
            fs::file_size(path + "/chunks/" + names_in(path + "/chunks")[0]) +
                fs::file_size(path + "/chunks/" + names_in(path + "/chunks")[1]));
  EXPECT_GT(report->ram[0].flat_bytes, 0U);
  EXPECT_TRUE(report->ram[0].flat_proof);
  EXPECT_THAT(report->bad, IsEmpty());
  EXPECT_THAT(report->parents, IsEmpty());
}

TEST(Inspect, ShowsLayersAndParents) {
  const TemporaryFolder folder;
  const std::string base = write_sample(folder.path("a"));
  const std::string layer =
      write_sample(folder.path("b"), {.pages = {{2, 99}, {3, 0}}, .parent = base});
  const auto report = inspect_spore(layer, {.verify = true});
  ASSERT_TRUE(report) << report.error().message();
  ASSERT_EQ(report->parents.size(), 1U);
  EXPECT_EQ(report->parents[0].path, base);
  ASSERT_EQ(report->ram.size(), 2U);
  EXPECT_EQ(report->ram[0].pages, 2U);  // also the page that became zero
  EXPECT_EQ(report->ram[1].path, base);
  EXPECT_EQ(report->ram[1].pages, 3U);
  EXPECT_TRUE(report->verified);
  EXPECT_THAT(report->bad, IsEmpty());
}

TEST(Inspect, VerifyNamesEveryBadFile) {
  const TemporaryFolder folder;
  write_all(folder.path("root.squashfs"), "an image");
  const std::string base = write_sample(folder.path("a"));
  const std::string path =
      write_sample(folder.path("b"), {.pages = {{2, 99}},
                                      .parent = base,
                                      .vm = R"({"clock":8})",
                                      .images = {folder.path("root.squashfs")}});
  const std::string base_chunk = a_chunk_of(base);
  const std::string vm = section_of(path, kVmSection);
  flip_byte(base_chunk, 20);
  flip_byte(a_chunk_of(path), 0);
  flip_byte(vm, 3);
  write_all(folder.path("root.squashfs"), "an Image");
  const auto quick = inspect_spore(path);
  ASSERT_TRUE(quick) << quick.error().message();
  EXPECT_THAT(quick->bad, IsEmpty());  // nothing of it was read
  const auto report = inspect_spore(path, {.verify = true});
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_THAT(bad_paths(*report),
              ElementsAre(base_chunk, a_chunk_of(path), vm, folder.path("root.squashfs")));
}

TEST(Inspect, MissingFilesAreBadWithoutVerify) {
  const TemporaryFolder folder;
  write_all(folder.path("root.squashfs"), "an image");
  const std::string path =
      write_sample(folder.path("a"), {.images = {folder.path("root.squashfs")}});
  const std::string chunk = a_chunk_of(path);
  fs::remove(chunk);
  fs::remove(folder.path("root.squashfs"));
  const auto report = inspect_spore(path);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_THAT(bad_paths(*report), ElementsAre(chunk, folder.path("root.squashfs")));
  EXPECT_EQ(report->images[0].found, "");
}

// Every file below `folder`, which is all that the spore `path` is made of.
void expect_each_changed_byte_is_found(const std::string& folder, const std::string& path) {
  const auto sound = inspect_spore(path, {.verify = true});
  ASSERT_TRUE(sound) << sound.error().message();
  ASSERT_THAT(bad_paths(*sound), IsEmpty());
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      files.push_back(entry.path().string());
    }
  }
  for (const std::string& file : files) {
    const std::size_t size = fs::file_size(file);
    for (const std::size_t at : {std::size_t{0}, size / 3, size / 2, size - 1}) {
      flip_byte(file, at);
      const auto report = inspect_spore(path, {.verify = true});
      if (report) {
        EXPECT_THAT(bad_paths(*report), ElementsAre(file)) << "byte " << at;
      } else {  // what it is, and where its parent is
        EXPECT_THAT(fs::path(file).filename().string(),
                    AnyOf("manifest.json", "manifest.sha256", "parent"));
      }
      flip_byte(file, at);
    }
  }
}

constexpr char kSomeWorkingSet[] = R"({"read":[1],"written":[2]})";

TEST(Inspect, VerifyFindsAChangedByteInEveryFile) {
  const TemporaryFolder folder;
  write_all(folder.path("root.squashfs"), "an image");
  const std::string base =
      write_sample(folder.path("a"), {.images = {folder.path("root.squashfs")}, .flat = true});
  const std::string layer =
      write_sample(folder.path("b"), {.pages = {{2, 99}, {3, 0}, {700, 5}},
                                      .parent = base,
                                      .images = {folder.path("root.squashfs")},
                                      .flat = true});
  write_all(base + "/working-set.json", kSomeWorkingSet);
  write_all(layer + "/working-set.json", kSomeWorkingSet);
  EXPECT_THAT(names_in(layer), ElementsAre("chunks", "manifest.json", "manifest.sha256", "parent",
                                           "ram.img", "ram.proof", "sections", "working-set.json"));
  expect_each_changed_byte_is_found(folder.path(), layer);
}

TEST(Inspect, VerifyFindsAChangedByteInEveryFileOfABundle) {
  const TemporaryFolder folder;
  write_all(folder.path("root.squashfs"), "an image");
  const std::string base =
      write_sample(folder.path("a"), {.images = {folder.path("root.squashfs")}, .flat = true});
  const std::string layer =
      write_sample(folder.path("b"), {.pages = {{2, 99}},
                                      .parent = base,
                                      .vm = R"({"clock":8})",
                                      .images = {folder.path("root.squashfs")}});
  ASSERT_TRUE(pack_spores_to({layer}, folder.path("tar")));
  const std::string path = folder.path("unpacked");
  ASSERT_TRUE(unpack_bundle_file(folder.path("tar"), path));
  EXPECT_THAT(names_in(path), Contains("parents"));
  expect_each_changed_byte_is_found(path, path);
}

TEST(Inspect, VerifyReadsTheFlatBackingStoredOrNot) {
  const TemporaryFolder folder;
  const std::string path = write_sample(folder.path("a"), {.flat = true});
  const std::string flat = path + "/ram.img";
  for (const std::size_t at :
       {std::size_t{0}, kPageBytes, 2 * kPageBytes, 600 * kPageBytes + 7, 5 * std::size_t{kMiB}}) {
    flip_byte(flat, at);
    const auto report = inspect_spore(path, {.verify = true});
    ASSERT_TRUE(report) << report.error().message();
    ASSERT_THAT(bad_paths(*report), ElementsAre(flat)) << at;
    EXPECT_THAT(report->bad.front().why, HasSubstr("the spore goes on from its chunks"));
    flip_byte(flat, at);
  }
  fs::resize_file(flat, 7 * kMiB);
  EXPECT_THAT(bad_paths(inspect_spore(path, {.verify = true}).value()), ElementsAre(flat));
}

TEST(Inspect, WhatASporeCanDoWithoutMayBeMissingOrACopy) {
  const TemporaryFolder folder;
  const std::string path = write_sample(folder.path("a"), {.flat = true});
  const auto expect_good = [](const std::string& spore) {
    const auto report = inspect_spore(spore, {.verify = true});
    ASSERT_TRUE(report) << report.error().message();
    EXPECT_THAT(bad_paths(*report), IsEmpty());
  };
  fs::copy(path, folder.path("copy"), fs::copy_options::recursive);
  expect_good(folder.path("copy"));
  fs::remove(path + "/ram.proof");
  expect_good(path);
  fs::remove(path + "/ram.img");
  expect_good(path);
}

TEST(Inspect, AWorkingSetThatMakesNoSenseIsNamed) {
  const TemporaryFolder folder;
  const std::string path = write_sample(folder.path("a"));  // of 2048 pages
  const std::string set = path + "/working-set.json";
  for (const char* const text :
       {"", "[]", R"({"read":[]})", R"({"read":[],"more":1,"written":[]})",
        R"({"read":[2048],"written":[]})", R"({"read":[],"written":[2,1]})",
        R"({"read":[],"written":[1,1]})", R"({"read":[-1],"written":[]})"}) {
    write_all(set, text);
    const auto report = inspect_spore(path, {.verify = true});
    ASSERT_TRUE(report) << report.error().message();
    EXPECT_THAT(bad_paths(*report), ElementsAre(set)) << text;
  }
  write_all(set, R"({"read":[0,2047],"written":[]})");
  EXPECT_THAT(inspect_spore(path, {.verify = true})->bad, IsEmpty());
}

TEST(Inspect, ABadRamSectionIsNamed) {
  const TemporaryFolder folder;
  const std::string path = write_sample(folder.path("a"));
  const std::string ram = section_of(path, kRamSection);
  flip_byte(ram, 10);
  const auto report = inspect_spore(path, {.verify = true});
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_THAT(bad_paths(*report), ElementsAre(ram));
  EXPECT_THAT(report->ram, IsEmpty());
}

TEST(Inspect, ABadRamSectionOfAParentIsNamed) {
  const TemporaryFolder folder;
  const std::string base = write_sample(folder.path("a"));
  const std::string path = write_sample(folder.path("b"), {.pages = {{2, 99}}, .parent = base});
  const std::string ram = section_of(base, kRamSection);
  flip_byte(ram, 10);
  for (const bool verify : {false, true}) {
    const auto report = inspect_spore(path, {.verify = verify});
    ASSERT_TRUE(report) << report.error().message();
    EXPECT_THAT(bad_paths(*report), ElementsAre(ram));
  }
}

TEST(Inspect, RefusesWhatIsNoSpore) {
  const TemporaryFolder folder;
  const auto none = inspect_spore(folder.path("none"));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), ErrorCode::kNotFound);
  const std::string path = write_sample(folder.path("a"));
  flip_byte(path + "/manifest.json", 20);
  const auto changed = inspect_spore(path);
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().code(), ErrorCode::kCorrupt);
}

TEST(Inspect, NamesTheParentThatIsMissing) {
  const TemporaryFolder folder;
  const std::string base = write_sample(folder.path("a"));
  const std::string path = write_sample(folder.path("b"), {.parent = base});
  fs::rename(base, folder.path("elsewhere"));
  const auto report = inspect_spore(path);
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message(), HasSubstr(base));
}

TEST(Inspect, JsonHasAllOfIt) {
  const TemporaryFolder folder;
  const auto report = inspect_spore(write_sample(folder.path("b\xff")));
  ASSERT_TRUE(report) << report.error().message();
  const auto json = nlohmann::json::parse(json_text(*report));  // though the path is no UTF-8
  EXPECT_EQ(json.at("ram").at(0).at("pages"), 3);
  EXPECT_TRUE(json.at("fork").is_null());
  EXPECT_EQ(json.at("platform").at("memory_bytes"), 8 * kMiB);
}

}  // namespace
}  // namespace spore::snapshot::test
