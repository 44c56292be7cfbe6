#include "spore/kept.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/file_lock.h"
#include "base/files.h"
#include "support/temporary_directory.h"

namespace spore {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ScopedVariable;
using testing::TemporaryDirectory;

constexpr std::size_t kMiB = 1 << 20;

class Kept : public ::testing::Test {
 protected:
  // Keeps a "machine" of so many bytes.
  Result<KeptInfo> keep(const std::string& name, std::size_t bytes = 10) {
    return keep_machine("of " + name, parts(name), "notes of " + name,
                        [&](const std::string& path) -> Result<void> {
                          fs::create_directory(path);
                          return base::write_new_file(path + "/ram", std::string(bytes, 'x'));
                        });
  }

  static KeptParts parts(const std::string& name) { return {{"kernel", "1"}, {"suite", name}}; }

  static std::vector<std::string> labels() {
    std::vector<std::string> found;
    for (const KeptInfo& one : *kept_machines()) {
      found.push_back(one.label);
    }
    return found;
  }

  // Makes it one that was used so many seconds ago.
  static void age(const KeptInfo& kept, int seconds) {
    const timespec then{std::time(nullptr) - seconds, 0};
    const timespec times[] = {then, then};
    ASSERT_EQ(utimensat(AT_FDCWD, (kept.path + "/in-use").c_str(), times, 0), 0);
  }

  std::vector<std::string> files() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(directory_ / "kept")) {
      found.push_back(entry.path().filename());
    }
    return found;
  }

  TemporaryDirectory directory_;
  ScopedVariable cache_{"SPORE_CACHE_DIR", directory_.path().c_str()};
  ScopedVariable limit_{"SPORE_KEPT_LIMIT", nullptr};
};

TEST_F(Kept, IsFoundByItsParts) {
  ASSERT_EQ(*find_kept(parts("a")), nullptr);
  const auto kept = keep("a");
  ASSERT_TRUE(kept) << kept.error().message();
  const auto found = find_kept(parts("a"));
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->path(), kept->path + "/machine");
  EXPECT_EQ((*found)->notes(), "notes of a");
  EXPECT_TRUE(fs::exists((*found)->path() + "/ram"));
}

TEST_F(Kept, IsNotFoundByAnyOtherParts) {
  ASSERT_TRUE(keep("a"));
  for (const KeptParts& other :
       {KeptParts{{"kernel", "2"}, {"suite", "a"}}, KeptParts{{"kernel", "1"}, {"suite", "b"}},
        KeptParts{{"kernel", "1"}}, KeptParts{{"kernel", "1"}, {"suite", "a"}, {"more", ""}},
        KeptParts{{"kernel", "a"}, {"suite", "1"}}, KeptParts{}}) {
    const auto found = find_kept(other);
    ASSERT_TRUE(found);
    EXPECT_EQ(*found, nullptr);
  }
}

TEST_F(Kept, ReplacesOneWithTheSameParts) {
  ASSERT_TRUE(keep("a", 10));
  ASSERT_TRUE(keep("a", 20));
  const auto found = find_kept(parts("a"));
  ASSERT_TRUE(found && *found);
  EXPECT_EQ(fs::file_size((*found)->path() + "/ram"), 20U);
  EXPECT_EQ(files().size(), 1U);
}

TEST_F(Kept, IsNeitherReplacedNorRemovedWhileItIsInUse) {
  const auto kept = keep("a", 10);
  ASSERT_TRUE(kept);
  {
    const auto first = find_kept(parts("a"));
    const auto second = find_kept(parts("a"));
    ASSERT_TRUE(first && *first && second && *second);
    EXPECT_EQ(remove_kept(kept->digest), false);
    ASSERT_TRUE(keep("a", 20));
    EXPECT_EQ(fs::file_size((*first)->path() + "/ram"), 10U);
  }
  EXPECT_EQ(remove_kept(kept->digest), true);
  EXPECT_EQ(remove_kept(kept->digest), false);
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(Kept, WhatWasUsedLeastRecentlyMakesRoom) {
  const ScopedVariable limit("SPORE_KEPT_LIMIT", "4M");
  age(*keep("a", kMiB), 30);
  age(*keep("b", kMiB), 20);
  age(*keep("c", kMiB), 10);
  ASSERT_TRUE(find_kept(parts("a")));  // and so it is the newest
  ASSERT_TRUE(keep("d", kMiB));
  EXPECT_THAT(labels(), ::testing::UnorderedElementsAre("of a", "of c", "of d"));
}

TEST_F(Kept, WhatIsInUseDoesNotMakeRoom) {
  const ScopedVariable limit("SPORE_KEPT_LIMIT", "2M");
  const auto oldest = keep("a", kMiB);
  const auto used = find_kept(parts("a"));
  age(*oldest, 30);
  age(*keep("b", kMiB / 2), 20);
  ASSERT_TRUE(keep("c", kMiB / 2));
  EXPECT_THAT(labels(), ::testing::UnorderedElementsAre("of a", "of c"));
}

TEST_F(Kept, OneThatIsLargerThanTheLimitIsNotKept) {
  const ScopedVariable limit("SPORE_KEPT_LIMIT", "1M");
  ASSERT_TRUE(keep("a", 1000));
  const auto kept = keep("b", 2 * kMiB);
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_THAT(kept.error().message(), HasSubstr("SPORE_KEPT_LIMIT"));
  EXPECT_THAT(labels(), ElementsAre("of a"));
  EXPECT_EQ(files().size(), 1U);
}

TEST_F(Kept, NothingIsLeftOfOneThatCannotBeSaved) {
  const auto kept = keep_machine("a", parts("a"), "", [](const std::string& path) -> Result<void> {
    fs::create_directory(path);
    return fail(ErrorCode::kUnavailable, "the disk is gone");
  });
  ASSERT_FALSE(kept);
  EXPECT_THAT(kept.error().message(), HasSubstr("the disk is gone"));
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(Kept, WhatADeadProgramLeftIsRemovedByTheNext) {
  ASSERT_TRUE(keep("a"));
  const std::string name = "." + std::string(64, 'e') + ".0123456789abcdef.tmp";
  const std::string stale = directory_ / "kept/" + name;
  fs::create_directories(stale + "/machine");
  const timespec then{std::time(nullptr) - 3600, 0};
  const timespec times[] = {then, then};
  {
    const auto alive = base::FileLock::take(stale + "/in-use", 0);
    ASSERT_EQ(utimensat(AT_FDCWD, stale.c_str(), times, 0), 0);
    ASSERT_TRUE(keep("b"));
    EXPECT_TRUE(fs::exists(stale)) << "its program lives";
  }
  ASSERT_EQ(utimensat(AT_FDCWD, stale.c_str(), times, 0), 0);
  ASSERT_TRUE(keep("c"));
  EXPECT_FALSE(fs::exists(stale));
}

TEST_F(Kept, ADamagedKeyIsNeverBelieved) {
  const auto kept = keep("a");
  ASSERT_TRUE(kept);
  const std::string path = kept->path + "/key.json";
  const std::string whole = *base::read_file(path, kMiB);
  const std::size_t needed_at = whole.find("\"notes\"");
  ASSERT_NE(needed_at, std::string::npos);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    std::ofstream(path, std::ios::trunc) << damaged;
    const auto found = find_kept(parts("a"));
    // The label, and when it was kept, are for people.
    EXPECT_TRUE(!found || at < needed_at) << at << " " << damaged;
    EXPECT_EQ(kept_machines()->size(), 1U);
  }
  for (const std::size_t length : {std::size_t{0}, whole.size() / 2}) {
    std::ofstream(path, std::ios::trunc) << whole.substr(0, length);
    EXPECT_FALSE(find_kept(parts("a")));
  }
  EXPECT_THAT(labels(), ElementsAre(HasSubstr("key.json")));
  EXPECT_EQ(remove_kept(kept->digest), true);
}

TEST_F(Kept, DamagedNotesAreNeverBelieved) {
  const auto kept = keep("a");
  ASSERT_TRUE(kept);
  for (const char* other : {"", "notes of b", "notes of a\n"}) {
    std::ofstream(kept->path + "/notes", std::ios::trunc) << other;
    const auto found = find_kept(parts("a"));
    ASSERT_FALSE(found) << other;
    EXPECT_EQ(found.error().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(found.error().message(), HasSubstr("notes"));
  }
}

TEST_F(Kept, AnotherMachinesFolderUnderItsNameIsNotTaken) {
  const auto a = keep("a");
  ASSERT_TRUE(a);
  const std::string name = fs::path(a->path).parent_path() / kept_digest(parts("b"));
  fs::rename(a->path, name);
  const auto found = find_kept(parts("b"));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code(), ErrorCode::kCorrupt);
}

TEST_F(Kept, LimitsThatAreNoSizesAreRefused) {
  for (const char* text : {"", "8G", "512M", "0M"}) {
    const ScopedVariable limit("SPORE_KEPT_LIMIT", text);
    EXPECT_TRUE(kept_limit()) << text;
  }
  for (const char* text : {"8", "G", "-1G", "1T", "8 G", "99999999999999999999G", "8Gx"}) {
    const ScopedVariable limit("SPORE_KEPT_LIMIT", text);
    const auto read = kept_limit();
    ASSERT_FALSE(read) << text;
    EXPECT_THAT(read.error().message(), HasSubstr("SPORE_KEPT_LIMIT"));
  }
}

TEST_F(Kept, DigestsThatAreNoneAreRefused) {
  EXPECT_FALSE(remove_kept("../somewhere"));
  EXPECT_FALSE(remove_kept(""));
  EXPECT_EQ(remove_kept(std::string(64, 'a')), false);
}

}  // namespace
}  // namespace spore
