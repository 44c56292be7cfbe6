// Spores that somebody changed: nothing of them is believed, and what is wrong is named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "unit/snapshot/sample.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;
using test::overwrite;
using test::read_all;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string flipped(std::string text, std::size_t bit) {
  text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
  return text;
}

class HostileTest : public ::testing::Test {
 protected:
  HostileTest() {
    const auto id = test::write_spore(spore_, {});
    EXPECT_TRUE(id) << id.error().message();
    manifest_ = read_all(spore_ + "/manifest.json");
    digest_ = read_all(spore_ + "/manifest.sha256");
  }
  void expect_refused() {
    const auto opened = SporeDirectory::open(spore_);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::kCorrupt) << opened.error().message();
    EXPECT_THAT(opened.error().message(),
                AllOf(HasSubstr(spore_), HasSubstr("manifest.json"), HasSubstr("manifest.sha256")));
  }
  [[nodiscard]] std::string the_ram_section() const {
    const auto spore = SporeDirectory::open(spore_).value();
    return spore_ + "/sections/" + spore->manifest().sections.at("ram").sha256 + ".json";
  }
  // Cheaper than a new file, for those who change one many times.
  static void rewrite(const std::string& path, std::string_view bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }

  test::TemporaryDirectory directory_;
  const std::string spore_ = directory_.path("spore");
  std::string manifest_;
  std::string digest_;
};

TEST_F(HostileTest, EveryFlippedBitOfTheManifestIsFound) {
  for (std::size_t bit = 0; bit < manifest_.size() * 8; ++bit) {
    rewrite(spore_ + "/manifest.json", flipped(manifest_, bit));
    expect_refused();
  }
}

TEST_F(HostileTest, EveryFlippedBitAndTruncationOfItsDigestIsFound) {
  for (std::size_t bit = 0; bit < digest_.size() * 8; ++bit) {
    rewrite(spore_ + "/manifest.sha256", flipped(digest_, bit));
    expect_refused();
  }
  for (std::size_t size = 0; size < digest_.size(); ++size) {
    rewrite(spore_ + "/manifest.sha256", digest_.substr(0, size));
    expect_refused();
  }
  rewrite(spore_ + "/manifest.sha256", digest_ + digest_);
  expect_refused();
}

TEST_F(HostileTest, EveryTruncationOfTheManifestIsFound) {
  for (std::size_t size = 0; size < manifest_.size(); ++size) {
    rewrite(spore_ + "/manifest.json", manifest_.substr(0, size));
    expect_refused();
  }
}

TEST_F(HostileTest, WhoeverChangesBothGetsARefusalOrAnotherSpore) {
  std::size_t others = 0;
  for (std::size_t bit = 0; bit < manifest_.size() * 8; ++bit) {
    const std::string bytes = flipped(manifest_, bit);
    const auto parsed = parse_manifest(bytes, "it");
    if (parsed) {
      ++others;
      EXPECT_EQ(to_document(*parsed), bytes) << "a second spelling of a manifest";
    } else {
      EXPECT_THAT(parsed.error().message(), HasSubstr("it"));
    }
  }
  EXPECT_GT(others, 100U);  // digits and letters of names: else nothing was tried
  for (std::size_t size = 0; size < manifest_.size(); ++size) {
    EXPECT_FALSE(parse_manifest(manifest_.substr(0, size), "it"));
  }
}

TEST_F(HostileTest, AManifestThatIsTooLongIsNotRead) {
  test::overwrite_manifest(spore_, manifest_ + std::string(kMaxManifestBytes, ' '));
  const auto opened = SporeDirectory::open(spore_);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message(), AllOf(HasSubstr("manifest.json"), HasSubstr("larger")));
}

TEST_F(HostileTest, WhatIsNoFileIsNamedAndNotWaitedFor) {
  const auto section = the_ram_section();
  for (const std::string& file :
       {spore_ + "/manifest.json", spore_ + "/manifest.sha256", section}) {
    const std::string bytes = read_all(file);
    const auto expect_named = [&] {
      const auto done = test::verify(spore_);
      ASSERT_FALSE(done) << file;
      EXPECT_THAT(done.error().message(), HasSubstr(file));
      fs::remove(file);
    };
    fs::remove(file);
    ASSERT_EQ(::mkfifo(file.c_str(), 0644), 0);
    expect_named();
    fs::create_directory(file);
    expect_named();
    fs::create_symlink("/dev/zero", file);
    expect_named();
    // A link is as good as a file: its bytes are checked.
    fs::create_symlink(directory_.write("elsewhere", bytes), file);
    EXPECT_TRUE(test::verify(spore_));
    overwrite(file, bytes);
    EXPECT_TRUE(test::verify(spore_));
  }
}

TEST_F(HostileTest, ChunksThatChangedPlacesAreFound) {
  const auto ram = SporeDirectory::open(spore_).value()->ram_section().value();
  // Two of as many pages.
  const auto chunk = [&](std::size_t i) {
    return spore_ + "/chunks/" + chunk_file_name(ram.chunks[i].sha256);
  };
  ASSERT_EQ(ram.chunks[1].pages.count(), ram.chunks[2].pages.count());
  fs::rename(chunk(1), directory_.path("away"));
  fs::rename(chunk(2), chunk(1));
  fs::rename(directory_.path("away"), chunk(2));
  const auto done = test::verify(spore_);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(done.error().message(), HasSubstr("chunk 1 (" + ram.chunks[1].sha256));
}

TEST_F(HostileTest, FilesThatNobodyNamedDoNoHarm) {
  fs::create_directories(spore_ + "/chunks/folder");
  fs::create_symlink("/", spore_ + "/sections/link");
  overwrite(spore_ + "/parent", "../elsewhere");  // it has none
  overwrite(spore_ + "/ram.img", "nonsense");
  overwrite(spore_ + "/ram.proof", "nonsense");
  overwrite(spore_ + "/working-set.json", "nonsense");
  EXPECT_TRUE(test::verify(spore_));
}

}  // namespace
}  // namespace spore::snapshot
