#include "snapshot/directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "unit/snapshot/sample.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;
using test::overwrite;
using test::read_all;
using test::sample_manifest;
using ::testing::AllOf;
using ::testing::HasSubstr;

class DirectoryTest : public ::testing::Test {
 protected:
  std::string write(const std::string& name, test::SporeToWrite what = {}) {
    const auto id = test::write_spore(path(name), std::move(what));
    EXPECT_TRUE(id) << id.error().message();
    return id ? *id : std::string();
  }
  // On top of the spore `parent`.
  std::string write_on(const std::string& name, const std::string& parent,
                       const std::string& parent_id) {
    test::SporeToWrite what;
    what.manifest.parent = parent_id;
    what.parent_path = path(parent);
    return write(name, std::move(what));
  }
  [[nodiscard]] std::string path(const std::string& name) const { return directory_.path(name); }
  [[nodiscard]] Error refusal(const std::string& name) const {
    const auto opened = SporeDirectory::open(path(name));
    EXPECT_FALSE(opened);
    return opened ? Error(ErrorCode::kInternal, "it was opened") : opened.error();
  }

  test::TemporaryDirectory directory_;
};

TEST_F(DirectoryTest, OpensByAnyNameItHas) {
  const std::string id = write("a");
  fs::create_directory_symlink("a", path("link"));
  for (const auto* name : {"a", "a/", "./a", "link", "link/", "x/../a"}) {
    const auto spore = SporeDirectory::open(path(name));
    ASSERT_TRUE(spore) << spore.error().message();
    EXPECT_EQ((*spore)->id(), id);
    EXPECT_EQ((*spore)->parent(), nullptr);
    EXPECT_EQ((*spore)->depth(), 0U);
    EXPECT_TRUE((*spore)->ram_section());
  }
  EXPECT_EQ(id, base::sha256_of(read_all(path("a/manifest.json"))));
}

TEST_F(DirectoryTest, WhatIsNoSporeIsToldFromWhatIsNotThere) {
  EXPECT_THAT(refusal("none").message(),
              AllOf(HasSubstr(path("none")), HasSubstr("no such directory")));
  EXPECT_EQ(refusal("none").code(), ErrorCode::kNotFound);
  fs::create_directory(path("empty"));
  EXPECT_THAT(refusal("empty").message(),
              AllOf(HasSubstr(path("empty")), HasSubstr("it is no spore")));
  directory_.write("file", "x");
  EXPECT_THAT(refusal("file").message(), HasSubstr("it is no spore"));
  EXPECT_FALSE(SporeDirectory::open(""));
  EXPECT_FALSE(SporeDirectory::open(std::string(100'000, 'x')));
  EXPECT_FALSE(SporeDirectory::open(std::string("\0", 1)));
}

TEST_F(DirectoryTest, EveryMissingFileIsNamed) {
  write("a");
  const auto without = [&](const std::string& file, auto&& use) {
    const std::string whole = path("a/") + file;
    fs::rename(whole, path("away"));
    const auto result = use();
    ASSERT_FALSE(result) << file;
    EXPECT_EQ(result.error().code(), ErrorCode::kNotFound);
    EXPECT_THAT(result.error().message(), HasSubstr(fs::path(file).filename().string()));
    fs::rename(path("away"), whole);
  };
  const auto open = [&] { return SporeDirectory::open(path("a")); };
  without("manifest.json", open);
  without("manifest.sha256", open);
  const auto spore = SporeDirectory::open(path("a"));
  ASSERT_TRUE(spore);
  for (const auto& [name, section] : (*spore)->manifest().sections) {
    without("sections/" + section.sha256 + ".json", [&] { return (*spore)->section(name); });
  }
  without("sections/" + (*spore)->manifest().sections.at("ram").sha256 + ".json",
          [&] { return (*spore)->ram_section(); });
  const std::string chunk = chunk_file_name((*spore)->ram_section()->chunks.front().sha256);
  without("chunks/" + chunk, [&] { return (*spore)->find(kChunksFolder, chunk, "chunk 0"); });
  without("chunks/" + chunk, [&] { return test::verify(path("a")); });
  EXPECT_TRUE(test::verify(path("a")));
}

TEST_F(DirectoryTest, SectionsAreWhatTheManifestSays) {
  write("a");
  const auto spore = SporeDirectory::open(path("a"));
  ASSERT_TRUE(spore);
  const auto file = [&](const char* name) {
    return path("a/sections/") + (*spore)->manifest().sections.at(name).sha256 + ".json";
  };
  const std::string vm = read_all(file("vm"));
  const std::string agent = read_all(file("agent"));
  overwrite(file("vm"), agent);
  overwrite(file("agent"), vm);
  for (const auto* name : {"vm", "agent"}) {
    const auto section = (*spore)->section(name);
    ASSERT_FALSE(section);
    EXPECT_EQ(section.error().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(section.error().message(),
                AllOf(HasSubstr(name), HasSubstr(file(name)), HasSubstr("not what the manifest")));
  }
  for (const std::string& bytes : {vm.substr(1), vm + "\n", std::string(), vm + vm}) {
    overwrite(file("vm"), bytes);
    EXPECT_EQ((*spore)->section("vm").error().code(), ErrorCode::kCorrupt);
  }
  overwrite(file("vm"), "");
  fs::resize_file(file("vm"), std::uintmax_t{1} << 36);
  EXPECT_FALSE((*spore)->section("vm"));
  overwrite(file("vm"), vm);
  EXPECT_EQ((*spore)->section("vm").value(), vm);
}

TEST_F(DirectoryTest, SectionsThatTheManifestSwapsAreNotWhatTheyShouldBe) {
  const std::string id = write("a");
  nlohmann::json manifest = SporeDirectory::open(path("a")).value()->manifest();
  std::swap(manifest["sections"]["ram"], manifest["sections"]["vm"]);
  test::overwrite_manifest(path("a"), manifest.dump());
  const auto spore = SporeDirectory::open(path("a"));
  ASSERT_TRUE(spore);
  EXPECT_NE((*spore)->id(), id);
  const auto ram = (*spore)->ram_section();
  ASSERT_FALSE(ram);
  EXPECT_EQ(ram.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(ram.error().message(), HasSubstr("section ram of " + path("a")));
}

TEST_F(DirectoryTest, TakesWhatItLacksFromItsParents) {
  const std::string a = write("a");
  const std::string b = write_on("b", "a", a);
  write_on("c", "b", b);
  // A child may have none of the files that its parents have.
  for (const auto* folder : {"b/sections", "b/chunks", "c/sections", "c/chunks"}) {
    fs::remove_all(path(folder));
  }
  const auto spore = SporeDirectory::open(path("c"));
  ASSERT_TRUE(spore) << spore.error().message();
  EXPECT_EQ((*spore)->depth(), 2U);
  EXPECT_EQ((*spore)->parent()->parent()->id(), a);
  EXPECT_TRUE(test::verify(path("c")));
  // All three have this RAM; the lowest is the one whose it is.
  const std::string ram = (*spore)->manifest().sections.at("ram").sha256;
  EXPECT_EQ((*spore)->owner_of_ram(ram), (*spore)->parent()->parent().get());
  EXPECT_EQ((*spore)->owner_of_ram(std::string(64, '0')), nullptr);
  const auto missing = (*spore)->find(kChunksFolder, "none", "chunk 9");
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message(), AllOf(HasSubstr("chunk 9"), HasSubstr("or its parents")));
}

TEST_F(DirectoryTest, CanBeMovedWithItsParentAndIsFoundBehindLinks) {
  fs::create_directories(path("deep/er"));
  fs::create_directory_symlink("deep/er", path("link"));
  const std::string a = write("a");
  write_on("link/b", "a", a);
  EXPECT_TRUE(SporeDirectory::open(path("link/b")));
  EXPECT_TRUE(SporeDirectory::open(path("deep/er/b")));
  fs::create_directories(path("other"));
  fs::rename(path("a"), path("other/a"));
  EXPECT_EQ(refusal("link/b").code(), ErrorCode::kNotFound);
  fs::rename(path("deep"), path("other/deep"));
  EXPECT_TRUE(SporeDirectory::open(path("other/deep/er/b")));
}

TEST_F(DirectoryTest, AParentThatIsNotThereIsNamed) {
  const std::string a = write("a");
  write_on("b", "a", a);
  fs::rename(path("a"), path("moved"));
  const Error gone = refusal("b");
  EXPECT_EQ(gone.code(), ErrorCode::kNotFound);
  EXPECT_THAT(gone.message(),
              AllOf(HasSubstr(path("b")), HasSubstr(path("a")), HasSubstr(a.substr(0, 12))));
  fs::remove(path("b/parent"));
  EXPECT_THAT(refusal("b").message(), HasSubstr("finding the parent of " + path("b")));
}

TEST_F(DirectoryTest, AnotherSporeInItsParentsPlaceIsRefused) {
  const std::string a = write("a");
  write_on("b", "a", a);
  test::SporeToWrite other;
  other.manifest.annotations["other"] = "yes";
  const std::string other_id = write("other", other);
  overwrite(path("b/parent"), "../other");
  const Error error = refusal("b");
  EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
  EXPECT_THAT(error.message(), AllOf(HasSubstr(a), HasSubstr(other_id), HasSubstr("took its")));
  overwrite(path("b/parent"), ".");  // itself
  EXPECT_EQ(refusal("b").code(), ErrorCode::kCorrupt);
  overwrite(path("b/parent"), "../a");
  EXPECT_TRUE(SporeDirectory::open(path("b")));
  overwrite(path("b/parent"), path("a"));
  EXPECT_TRUE(SporeDirectory::open(path("b")));
}

TEST_F(DirectoryTest, HintsThatNameNoDirectoryAreRefused) {
  const std::string a = write("a");
  write_on("b", "a", a);
  for (const std::string& hint :
       {std::string(), std::string("../a\n"), std::string("\n"), std::string("../a\0", 5),
        std::string("../a\0/etc", 9), std::string("../a/manifest.json"), std::string("\x1b[2J"),
        std::string("../a\x7f"), std::string(4096, '/'), std::string(4097, 'x'),
        std::string(1 << 20, 'x'), std::string(4000, 'x'), std::string("/nowhere"),
        std::string("../b/parent"), std::string("\xff\xfe")}) {
    overwrite(path("b/parent"), hint);
    const Error error = refusal("b");
    EXPECT_THAT(error.message(), HasSubstr(path("b"))) << hint.substr(0, 20);
    EXPECT_EQ(error.message().find_first_of("\n\x1b"), std::string::npos);
    EXPECT_LT(error.message().size(), 20'000U);
  }
  fs::remove(path("b/parent"));
  fs::create_symlink("parent", path("b/parent"));  // to itself
  EXPECT_EQ(refusal("b").code(), ErrorCode::kInternal);
}

TEST_F(DirectoryTest, AChainHasAnEnd) {
  std::string below = write("0");
  for (std::size_t i = 1; i <= kMaxParents + 1; ++i) {
    below = write_on(std::to_string(i), std::to_string(i - 1), below);
  }
  const auto longest = SporeDirectory::open(path(std::to_string(kMaxParents)));
  ASSERT_TRUE(longest) << longest.error().message();
  EXPECT_EQ((*longest)->depth(), kMaxParents);
  const Error error = refusal(std::to_string(kMaxParents + 1));
  EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
  EXPECT_THAT(error.message(), HasSubstr("more than 64 parents"));
}

TEST_F(DirectoryTest, ImagesAreFoundInSporesAndWhereTheyWere) {
  const std::string image = directory_.write("image", "squashfs");
  test::SporeToWrite what;
  what.manifest.images = {{base::sha256_of("squashfs"), 8, image}};
  write("a", what);
  const auto spore = SporeDirectory::open(path("a")).value();
  const ImageRef& ref = spore->manifest().images.front();
  EXPECT_EQ(spore->find_image(ref).value(), image);
  fs::create_directory(path("a/images"));
  fs::copy(image, path("a/images/") + ref.sha256);
  EXPECT_EQ(spore->find_image(ref).value(), path("a/images/") + ref.sha256);
  fs::remove_all(path("a/images"));
  fs::remove(image);
  const auto missing = spore->find_image(ref);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message(), AllOf(HasSubstr(image), HasSubstr(ref.sha256)));
}

}  // namespace
}  // namespace spore::snapshot
