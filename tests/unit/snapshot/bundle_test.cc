#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "spore/disk.h"
#include "unit/snapshot/bundle_sample.h"
#include "unit/snapshot/disk_sample.h"

namespace spore::snapshot::test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> spores_of(const Bundle& bundle) {
  std::vector<std::string> names;
  for (const BundledSpore& spore : bundle.spores) {
    names.push_back(spore.name);
  }
  return names;
}

bool is_whole(const std::string& spore) {
  const auto report = inspect_spore(spore, {.verify = true});
  return report && report->bad.empty();
}

// What a tar of the system sees.
std::vector<std::string> names_in_tar(const std::string& bytes) {
  std::vector<std::string> names;
  archive* tar = archive_read_new();
  archive_read_support_format_tar(tar);
  EXPECT_EQ(archive_read_open_memory(tar, bytes.data(), bytes.size()), ARCHIVE_OK);
  archive_entry* found = nullptr;
  int status = ARCHIVE_OK;
  while ((status = archive_read_next_header(tar, &found)) == ARCHIVE_OK) {
    EXPECT_EQ(archive_entry_filetype(found), unsigned{AE_IFREG});
    EXPECT_EQ(archive_entry_mtime(found), 0);
    names.emplace_back(archive_entry_pathname(found));
  }
  EXPECT_EQ(status, ARCHIVE_EOF) << archive_error_string(tar);
  archive_read_free(tar);
  return names;
}

TEST(Bundle, OneSporeIsTheFolder) {
  const TemporaryFolder folder;
  write_all(folder.path("root.squashfs"), "an image");
  const std::string spore =
      write_sample(folder.path("a"), {.images = {folder.path("root.squashfs")}, .flat = true});
  const auto packed = pack_spores_to({spore}, folder.path("a.tar"));
  ASSERT_TRUE(packed) << packed.error().message();
  EXPECT_EQ(packed->path, folder.path("a.tar"));
  EXPECT_EQ(packed->bytes, fs::file_size(folder.path("a.tar")));
  EXPECT_EQ(packed->image_bytes, 8U);
  EXPECT_THAT(spores_of(*packed), ElementsAre("."));
  const auto unpacked =
      unpack_bundle_file(folder.path("a.tar"), folder.path("b"), {.digest = packed->digest});
  ASSERT_TRUE(unpacked) << unpacked.error().message();
  EXPECT_EQ(unpacked->digest, packed->digest);
  EXPECT_EQ(unpacked->bytes, packed->bytes);
  EXPECT_EQ(unpacked->files, packed->files);
  EXPECT_EQ(unpacked->path, folder.path("b"));
  EXPECT_TRUE(diff_spores(spore, folder.path("b"))->same());
  fs::remove(folder.path("root.squashfs"));
  EXPECT_TRUE(is_whole(folder.path("b")));  // it has the image
  EXPECT_THAT(names_in(folder.path("b")),   // and no flat backing
              ElementsAre("chunks", "images", "manifest.json", "manifest.sha256", "sections"));
  EXPECT_EQ(pack({folder.path("b")}), read_all(folder.path("a.tar")));
}

TEST(Bundle, TheSameSporesGiveTheSameBytes) {
  const TemporaryFolder folder;
  const std::string base = write_sample(folder.path("x/a"));
  write_sample(folder.path("x/b"), {.pages = {{4, 4}}, .parent = base});
  fs::create_directory(folder.path("elsewhere"));
  fs::copy(folder.path("x"), folder.path("elsewhere/deep"), fs::copy_options::recursive);
  const std::string bytes = pack({folder.path("x/b"), folder.path("x/a")});
  EXPECT_EQ(bytes, pack({folder.path("elsewhere/deep/a"), folder.path("elsewhere/deep/b"),
                         folder.path("elsewhere/deep/a")}));
}

TEST(Bundle, ATarOfTheSystemReadsIt) {
  const TemporaryFolder folder;
  const std::string base = write_sample(folder.path("a"));
  const std::string child = write_sample(folder.path("b"), {.pages = {{4, 4}}, .parent = base});
  const std::string bytes = pack({child});
  std::vector<std::string> expected = {"bundle.json"};
  const auto document = document_of(entries_of(bytes));
  for (const auto& file : document.at("files")) {
    expected.push_back(file.at("name"));
  }
  EXPECT_EQ(names_in_tar(bytes), expected);
  // Of each a manifest, its digest and RAM's section; vm and agent of both; a parent; three chunks.
  EXPECT_EQ(expected.size(), 1U + 2 * 3 + 2 + 1 + 3);
  EXPECT_EQ(document.at("format"), "spore-bundle");
  EXPECT_EQ(document.at("version"), 1);
}

TEST(Bundle, AChildBringsItsParents) {
  const TemporaryFolder folder;
  const std::string base = write_sample(folder.path("in/a"));
  const std::string layer = write_sample(folder.path("in/b"), {.pages = {{4, 4}}, .parent = base});
  ASSERT_TRUE(fork_spore(layer, 2, folder.path("in/kids")));
  const std::string child = folder.path("in/kids/000001");
  const auto before = inspect_spore(child);
  const std::string bytes = pack({child});
  fs::rename(folder.path("in"), folder.path("away"));
  const auto unpacked = unpack_bundle(source_of(bytes, 7), folder.path("out"));
  ASSERT_TRUE(unpacked) << unpacked.error().message();
  ASSERT_EQ(unpacked->spores.size(), 3U);
  EXPECT_EQ(unpacked->spores[0].name, ".");
  EXPECT_EQ(unpacked->spores[0].id, before->id);
  const auto after = inspect_spore(folder.path("out"), {.verify = true});
  ASSERT_TRUE(after) << after.error().message();
  EXPECT_EQ(after->id, before->id);
  EXPECT_THAT(after->bad, IsEmpty());
  ASSERT_EQ(after->parents.size(), 2U);
  EXPECT_EQ(after->parents[0].path, folder.path("out/parents/") + before->parents[0].id);
  EXPECT_EQ(pack({folder.path("out")}), bytes);
}

TEST(Bundle, ATreeHasEachFileOnce) {
  const TemporaryFolder folder;
  const std::string base = write_sample(folder.path("in/base"));
  // Two layers with one chunk in common, in neither parent nor child of the other.
  write_sample(folder.path("in/b"), {.pages = {{4, 4}, {1500, 1}}, .parent = base});
  write_sample(folder.path("in/c"), {.pages = {{4, 4}, {1500, 2}}, .parent = base});
  ASSERT_TRUE(fork_spore(folder.path("in/b"), 2, folder.path("in/kids")));
  const std::string bytes = pack({folder.path("in/b"), folder.path("in/c"),
                                  folder.path("in/kids/000000"), folder.path("in/kids/000001")});
  std::vector<std::string> names = names_in_tar(bytes);
  std::vector<std::string> chunks;
  for (const std::string& name : names) {
    if (name.ends_with(".zst")) {
      chunks.push_back(fs::path(name).filename().string());
    }
  }
  EXPECT_EQ(chunks.size(), 5U);
  std::sort(chunks.begin(), chunks.end());
  EXPECT_EQ(std::unique(chunks.begin(), chunks.end()), chunks.end());
  const auto unpacked = unpack_bundle(source_of(bytes), folder.path("out"));
  ASSERT_TRUE(unpacked) << unpacked.error().message();
  const std::string parent = "parents/" + inspect_spore(base)->id;
  EXPECT_THAT(spores_of(*unpacked), ElementsAre("000000", "000001", "b", "c", parent));
  for (const std::string& name : spores_of(*unpacked)) {
    EXPECT_TRUE(is_whole(folder.path("out/") + name)) << name;
  }
  EXPECT_TRUE(diff_spores(folder.path("in/c"), folder.path("out/c"))->same());
  EXPECT_THAT(collect_garbage(folder.path("out"))->items, IsEmpty());
}

TEST(Bundle, ImagesAreLeftOutWhenToldSo) {
  const TemporaryFolder folder;
  const std::string image = folder.path("root.squashfs");
  write_all(image, "an image");
  const std::string spore = write_sample(folder.path("a"), {.images = {image}});
  const std::string bytes = pack({spore}, {.images = false});
  ASSERT_TRUE(unpack_bundle(source_of(bytes), folder.path("b")));
  EXPECT_TRUE(is_whole(folder.path("b")));  // found where it was
  fs::remove(image);
  const auto ignore = [](std::string_view) -> Result<void> { return {}; };
  const auto packed = pack_spores({spore}, ignore);
  ASSERT_FALSE(packed);
  EXPECT_EQ(packed.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(packed.error().message(), HasSubstr("--no-images"));
  EXPECT_TRUE(pack_spores({spore}, ignore, {.images = false}));
}

TEST(Bundle, PackingRefusesWhatIsNotRight) {
  const TemporaryFolder folder;
  const std::string image = folder.path("root.squashfs");
  write_all(image, "an image");
  const std::string a = write_sample(folder.path("a"), {.images = {image}});
  const std::string other = write_sample(folder.path("other"), {.pages = {{7, 7}}});
  const std::string out = folder.path("x.tar");
  EXPECT_EQ(pack_spores_to({}, out).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(pack_spores_to({a, other}, out).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(pack_spores_to({folder.path("none")}, out).error().code(), ErrorCode::kNotFound);
  write_all(image, "an Image");
  EXPECT_EQ(pack_spores_to({a}, out).error().code(), ErrorCode::kCorrupt);
  write_all(image, "an image of another size");
  EXPECT_EQ(pack_spores_to({a}, out).error().code(), ErrorCode::kCorrupt);
  flip_byte(a_chunk_of(other), 30);
  EXPECT_EQ(pack_spores_to({other}, out).error().code(), ErrorCode::kCorrupt);
  ASSERT_TRUE(fork_spore(a, 1, folder.path("k1")));
  ASSERT_TRUE(fork_spore(a, 1, folder.path("k2"), {.name = "n"}));
  const auto same_name = pack_spores_to({folder.path("k1/000000"), folder.path("k2/000000")}, out);
  ASSERT_FALSE(same_name);
  EXPECT_THAT(same_name.error().message(), HasSubstr("same name"));
  EXPECT_THAT(names_in(folder.path()), ElementsAre("a", "k1", "k2", "other", "root.squashfs"));
  write_all(out, "mine");
  EXPECT_EQ(pack_spores_to({a}, out).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(read_all(out), "mine");
}

TEST(Bundle, NothingOfAnotherFileIsGivenAway) {
  const TemporaryFolder folder;
  const std::string image = folder.path("root.squashfs");
  write_all(image, "an image");
  const std::string a = write_sample(folder.path("a"), {.images = {image}});
  write_all(image, "a secret");  // as long as the image
  bool given = false;
  const auto packed = pack_spores({a}, [&given](std::string_view) -> Result<void> {
    given = true;
    return {};
  });
  ASSERT_FALSE(packed);
  EXPECT_EQ(packed.error().code(), ErrorCode::kCorrupt);
  EXPECT_FALSE(given);
}

TEST(Bundle, AnErrorOfTheSinkIsAnswered) {
  const TemporaryFolder folder;
  const std::string a = write_sample(folder.path("a"));
  int calls = 0;
  const auto packed = pack_spores({a}, [&calls](std::string_view) -> Result<void> {
    return ++calls < 4 ? Result<void>() : fail(ErrorCode::kResourceExhausted, "full");
  });
  ASSERT_FALSE(packed);
  EXPECT_EQ(packed.error().message(), "full");
  EXPECT_EQ(calls, 4);
}

TEST(Bundle, AnErrorOfTheSourceIsAnswered) {
  const TemporaryFolder folder;
  const auto unpacked = unpack_bundle(
      [](std::span<char>) -> Result<std::size_t> { return fail(ErrorCode::kInternal, "torn"); },
      folder.path("b"));
  ASSERT_FALSE(unpacked);
  EXPECT_EQ(unpacked.error().message(), "torn");
  EXPECT_THAT(names_in(folder.path()), IsEmpty());
}

TEST(Bundle, LargeFilesHaveBinarySizes) {
  const std::uint64_t large = std::uint64_t{9} << 30;
  const std::string header = tar_header("images/x", large);
  EXPECT_EQ(tar_size(header, "images/x"), large);
  EXPECT_EQ(tar_size(header, "images/y"), std::nullopt);
  archive* tar = archive_read_new();
  archive_read_support_format_tar(tar);
  archive_entry* found = nullptr;
  ASSERT_EQ(archive_read_open_memory(tar, header.data(), header.size()), ARCHIVE_OK);
  ASSERT_EQ(archive_read_next_header(tar, &found), ARCHIVE_OK);
  EXPECT_EQ(archive_entry_size(found), static_cast<la_int64_t>(large));
  archive_read_free(tar);
}

}  // namespace
}  // namespace spore::snapshot::test
