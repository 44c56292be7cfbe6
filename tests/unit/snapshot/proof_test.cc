#include "snapshot/proof.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "base/files.h"
#include "snapshot/known_digests.h"
#include "unit/snapshot/sample.h"

namespace spore::snapshot {
namespace {

using test::read_all;
using ::testing::HasSubstr;

class ProofTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string prove(const std::string& path) const {
    return make_proof(key_, base::open_to_read(path)->get(), digest_).value();
  }
  [[nodiscard]] bool holds(const std::string& path, std::string_view proof) const {
    return is_proof(proof, key_, base::open_to_read(path)->get(), digest_);
  }
  // As a copy with its times would have it, or a clock that was set back.
  static void set_mtime(const std::string& path, timespec mtime) {
    const timespec times[2] = {mtime, mtime};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }

  test::TemporaryDirectory directory_;
  const std::string key_ = std::string(kProofKeyBytes, 'k');
  const std::string digest_ = std::string(64, 'd');
  const std::string file_ = directory_.write("file", "content");
};

TEST_F(ProofTest, HoldsForTheFileAsItIs) {
  const std::string proof = prove(file_);
  EXPECT_TRUE(holds(file_, proof));
  // Under another name, too: it is the same file.
  std::filesystem::rename(file_, directory_.path("renamed"));
  EXPECT_TRUE(holds(directory_.path("renamed"), proof));
}

TEST_F(ProofTest, IsOfOneFileSizeTimeKeyAndDigest) {
  set_mtime(file_, {1'700'000'000, 5});
  const std::string proof = prove(file_);
  ASSERT_TRUE(holds(file_, proof));

  const std::string other = directory_.write("other", "content");
  set_mtime(other, {1'700'000'000, 5});
  EXPECT_FALSE(holds(other, proof)) << "another inode";

  const auto fd = base::open_to_read(file_);
  EXPECT_FALSE(is_proof(proof, std::string(kProofKeyBytes, 'K'), fd->get(), digest_));
  EXPECT_FALSE(is_proof(proof, key_, fd->get(), std::string(64, 'e')));
  EXPECT_FALSE(is_proof(proof, key_, -1, digest_));

  set_mtime(file_, {1'700'000'000, 6});
  EXPECT_FALSE(holds(file_, proof)) << "a nanosecond later";
  set_mtime(file_, {1'700'000'000, 5});
  EXPECT_TRUE(holds(file_, proof));

  directory_.write("file", "content, and more");
  set_mtime(file_, {1'700'000'000, 5});
  EXPECT_FALSE(holds(file_, proof)) << "another size";
}

TEST_F(ProofTest, IsWholeOnAnyHost) {
  const std::string proof = prove(file_);
  EXPECT_TRUE(is_whole_proof(proof, digest_));
  EXPECT_FALSE(is_whole_proof(proof, std::string(64, 'e')));
  EXPECT_FALSE(is_whole_proof(proof + "\n", digest_));
  EXPECT_FALSE(is_whole_proof("", digest_));
  for (std::size_t size = 0; size < proof.size(); ++size) {
    EXPECT_FALSE(is_whole_proof(proof.substr(0, size), digest_));
    std::string changed = proof;
    changed[size] = static_cast<char>(changed[size] ^ 1);
    EXPECT_FALSE(is_whole_proof(changed, digest_)) << size;
  }
}

TEST_F(ProofTest, ChangedContentIsNotProved) {
  set_mtime(file_, {1'700'000'000, 5});
  const std::string proof = prove(file_);
  directory_.write("file", "CONTENT");
  EXPECT_FALSE(holds(file_, proof));
}

TEST_F(ProofTest, NoByteOfItCanBeOtherwise) {
  const std::string proof = prove(file_);
  for (std::size_t at = 0; at < proof.size(); ++at) {
    std::string changed = proof;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    EXPECT_FALSE(holds(file_, changed)) << at;
    EXPECT_FALSE(holds(file_, proof.substr(0, at)));
  }
  EXPECT_FALSE(holds(file_, proof + "\n"));
}

class KnownDigestsTest : public ProofTest {
 protected:
  [[nodiscard]] std::string note() const {
    return test::the_only_file_in(directory_.path("notes"));
  }
  const KnownDigests known_{directory_.path("notes"), key_};
};

TEST_F(KnownDigestsTest, AFileIsReadOnceAndAgainWhenItChanged) {
  EXPECT_EQ(known_.of_file(file_).value(), base::sha256_of("content"));
  // A note with proof is believed: so the file is not read.
  const auto fd = base::open_to_read(file_);
  test::overwrite(note(), digest_ + "\n" + make_proof(key_, fd->get(), digest_).value());
  EXPECT_EQ(known_.of_file(file_).value(), digest_);
  directory_.write("file", "changed!");
  EXPECT_EQ(known_.of_file(file_).value(), base::sha256_of("changed!"));
  EXPECT_EQ(known_.of_file(file_).value(), base::sha256_of("changed!"));
}

TEST_F(KnownDigestsTest, NotesThatWereDamagedAreNotBelieved) {
  ASSERT_TRUE(known_.of_file(file_));
  const std::string path = note();
  const std::string good = read_all(path);
  std::vector<std::string> bad = {"",
                                  "\n",
                                  std::string(64, 'a'),
                                  std::string(64, 'a') + "\n",
                                  std::string(65, 'a'),
                                  std::string(4096, 'a'),
                                  std::string(5000, 'a'),
                                  good + "x",
                                  std::string(64, 'a') + good.substr(64)};
  for (std::size_t size = 0; size < good.size(); ++size) {
    bad.push_back(good.substr(0, size));
  }
  for (const std::string& text : bad) {
    test::overwrite(path, text);
    EXPECT_EQ(known_.of_file(file_).value(), base::sha256_of("content")) << text;
  }
  EXPECT_EQ(read_all(path), good) << "it is written again";
}

// As the nest and its host do, who see one file as two.
TEST_F(KnownDigestsTest, HostsThatSeeAnotherFileUnderOneNameHaveNotesOfTheirOwn) {
  ASSERT_TRUE(known_.of_file(file_));
  const std::string first = read_all(note());
  const std::string aside = directory_.path("aside");
  ASSERT_EQ(std::rename(file_.c_str(), aside.c_str()), 0);
  directory_.write("file", "content");
  ASSERT_TRUE(known_.of_file(file_));
  ASSERT_EQ(std::rename(aside.c_str(), file_.c_str()), 0);
  ASSERT_TRUE(known_.of_file(file_));
  std::vector<std::string> notes;
  for (const auto& entry : std::filesystem::directory_iterator(directory_.path("notes"))) {
    notes.push_back(read_all(entry.path()));
  }
  EXPECT_EQ(notes.size(), 2U);
  EXPECT_THAT(notes, ::testing::Contains(first)) << "it is not written again";
}

TEST_F(KnownDigestsTest, WhatIsNoFileIsRefusedAndNotWaitedFor) {
  const std::string fifo = directory_.path("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& path : {fifo, directory_.path(), std::string("/dev/zero")}) {
    const auto digest = known_.of_file(path);
    ASSERT_FALSE(digest) << path;
    EXPECT_THAT(digest.error().message(), HasSubstr(path));
  }
  EXPECT_EQ(known_.of_file(directory_.path("none")).error().code(), ErrorCode::kNotFound);
}

TEST_F(KnownDigestsTest, WithoutAFolderItIsReadEveryTime) {
  const KnownDigests nowhere("/proc/nowhere/notes", key_);
  EXPECT_EQ(nowhere.of_file(file_).value(), base::sha256_of("content"));
}

}  // namespace
}  // namespace spore::snapshot
