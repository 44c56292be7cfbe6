#include "snapshot/chunk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <filesystem>
#include <string>

#include "unit/snapshot/sample.h"

namespace spore::snapshot {
namespace {

using test::Page;
using test::read_all;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string_view as_text(const Page& content) {
  return {reinterpret_cast<const char*>(content.data()), content.size()};
}

std::string compressed(std::string_view content, bool with_size = true) {
  std::string packed(ZSTD_compressBound(content.size()), '\0');
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, with_size ? 1 : 0);
  const std::size_t size =
      ZSTD_compress2(context, packed.data(), packed.size(), content.data(), content.size());
  ZSTD_freeCCtx(context);
  EXPECT_FALSE(ZSTD_isError(size));
  packed.resize(size);
  return packed;
}

// A frame of `blocks` blocks of 128 KiB of zeros, four bytes each (RFC 8878, 3.1.1). Without the
// size of its content, or with one that it claims.
std::string bomb(std::size_t blocks, std::string_view descriptor_and_size) {
  std::string frame("\x28\xb5\x2f\xfd", 4);
  frame += descriptor_and_size;
  for (std::size_t i = 0; i < blocks; ++i) {
    const std::uint32_t header = (i + 1 == blocks ? 1U : 0U) | 1U << 1 | (128U * 1024) << 3;
    frame += {static_cast<char>(header & 0xff), static_cast<char>(header >> 8 & 0xff),
              static_cast<char>(header >> 16), '\0'};
  }
  return frame;
}
// A window of 128 KiB and no content size.
constexpr std::string_view kUnsized("\x00\x38", 2);

long peak_kib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

class ChunkTest : public ::testing::Test {
 protected:
  ChunkTest() {
    for (std::uint32_t page = 0; page < 3; ++page) {
      const Page bytes = test::page_of(page);
      content_.insert(content_.end(), bytes.begin(), bytes.end());
    }
    digest_ = base::sha256_of(as_text(content_));
    path_ = directory_.path(chunk_file_name(digest_));
  }
  Result<void> read(std::string_view digest) {
    Page into(content_.size(), std::byte{0x5a});
    SPORE_TRY(read_chunk(path_, digest, into, "chunk 17"));
    return into == content_ ? Result<void>() : fail(ErrorCode::kInternal, "other content");
  }
  Result<void> read() { return read(digest_); }
  void write(std::string_view bytes) { test::overwrite(path_, bytes); }
  void expect_damaged() {
    const auto done = read();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ErrorCode::kCorrupt) << done.error().message();
    EXPECT_THAT(done.error().message(), AllOf(HasSubstr("chunk 17"), HasSubstr(path_)));
  }

  test::TemporaryDirectory directory_;
  Page content_;
  std::string digest_;
  std::string path_;
};

TEST_F(ChunkTest, ComesBackAndIsWrittenOnce) {
  const auto first = write_chunk(directory_.path(), content_);
  ASSERT_TRUE(first) << first.error().message();
  EXPECT_EQ(first->sha256, digest_);
  EXPECT_EQ(first->file_bytes, std::filesystem::file_size(path_));
  const auto again = write_chunk(directory_.path(), content_);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->sha256, digest_);
  EXPECT_EQ(again->file_bytes, 0U);
  EXPECT_EQ(test::count_entries(directory_.path()), 1U);
  EXPECT_TRUE(read());
}

TEST_F(ChunkTest, TheLargestComesBackEvenIfItCannotBeCompressed) {
  content_.clear();
  for (std::uint32_t page = 0; page < kPagesInChunk; ++page) {
    Page bytes = test::page_of(page);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] ^= static_cast<std::byte>((i * 2654435761U + page * 40503U) >> 13);
    }
    content_.insert(content_.end(), bytes.begin(), bytes.end());
  }
  digest_ = base::sha256_of(as_text(content_));
  path_ = directory_.path(chunk_file_name(digest_));
  ASSERT_TRUE(write_chunk(directory_.path(), content_));
  EXPECT_TRUE(read());
}

TEST_F(ChunkTest, WhereItCannotBeWrittenItSaysSo) {
  const auto written = write_chunk(directory_.path("none"), content_);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(written.error().message(), HasSubstr(directory_.path("none")));
}

TEST_F(ChunkTest, EveryTruncationIsFound) {
  const std::string whole = compressed(as_text(content_));
  for (std::size_t size = 0; size < whole.size(); size += size < 64 ? 1 : 97) {
    write(std::string_view(whole).substr(0, size));
    expect_damaged();
  }
  write(std::string_view(whole).substr(0, whole.size() - 1));
  expect_damaged();
}

TEST_F(ChunkTest, AFlippedBitIsFoundOrDoesNotMatter) {
  const std::string whole = compressed(as_text(content_));
  for (std::size_t at = 0; at < whole.size(); at += at < 64 ? 1 : 13) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = whole;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
      write(flipped);
      // Some bits of a frame mean nothing; then the content is right.
      if (const auto done = read(); !done) {
        EXPECT_EQ(done.error().code(), ErrorCode::kCorrupt) << done.error().message();
      }
    }
  }
}

TEST_F(ChunkTest, OtherContentUnderItsNameIsFound) {
  for (std::size_t at : {std::size_t{0}, std::size_t{5000}, content_.size() - 1}) {
    Page other = content_;
    other[at] ^= std::byte{1};
    write(compressed(as_text(other)));
    expect_damaged();
  }
  write(compressed(as_text(content_)));
  EXPECT_TRUE(read());
  EXPECT_FALSE(read(std::string(64, 'a')));
  EXPECT_FALSE(read(""));
}

TEST_F(ChunkTest, OtherSizesAreFound) {
  const std::string more(as_text(content_));
  write(compressed(more + '\0'));
  expect_damaged();
  write(compressed(more + more));
  expect_damaged();
  write(compressed(more.substr(1)));
  expect_damaged();
  write(compressed(""));
  expect_damaged();
  write("");
  expect_damaged();
  write(more);  // not compressed
  expect_damaged();
}

TEST_F(ChunkTest, AFrameWithoutItsSizeIsTakenForWhatItHolds) {
  write(compressed(as_text(content_), /*with_size=*/false));
  EXPECT_TRUE(read());
}

TEST_F(ChunkTest, IsOneFrameAndNothingElse) {
  const std::string whole = compressed(as_text(content_));
  const std::string skippable("\x50\x2a\x4d\x18\x04\x00\x00\x00junk", 12);
  for (const std::string& bytes :
       {whole + std::string(1, '\0'), whole + "garbage", whole + whole, whole + skippable,
        skippable + whole, skippable, skippable + skippable, whole + compressed(""),
        compressed("") + whole}) {
    write(bytes);
    expect_damaged();
  }
  // The same content in two frames.
  write(compressed(as_text(content_).substr(0, 100)) + compressed(as_text(content_).substr(100)));
  expect_damaged();
  // What zstd was before it had a standard.
  for (const char version : {'\x1e', '\x22', '\x23', '\x24', '\x25', '\x26', '\x27'}) {
    std::string old = whole;
    old[0] = version;
    write(old);
    expect_damaged();
  }
}

TEST_F(ChunkTest, UnpacksNoMoreThanItWasAskedFor) {
  const long before = peak_kib();
  const std::string two_gib_in_size("\xe0\x00\x00\x00\x80\x00\x00\x00\x00", 9);
  const std::string as_it_should_be("\xa0\x00\x30\x00\x00", 5);  // claims 12 KiB
  for (const std::string& bytes : {bomb(16384, kUnsized), bomb(16384, two_gib_in_size),
                                   bomb(16384, as_it_should_be), bomb(1, kUnsized)}) {
    write(bytes);
    expect_damaged();
  }
  // A window of 3.75 TiB, which a reader might think it has to set aside.
  write(bomb(1, std::string("\x00\xff", 2)));
  expect_damaged();
  EXPECT_LT(peak_kib() - before, 16 * 1024);
}

TEST_F(ChunkTest, AFileOfAnySizeIsNotReadWhole) {
  write("");
  std::filesystem::resize_file(path_, std::uintmax_t{1} << 36);
  const long before = peak_kib();
  expect_damaged();
  EXPECT_LT(peak_kib() - before, 16 * 1024);
}

TEST_F(ChunkTest, WhatIsNoFileIsRefusedAndNotWaitedFor) {
  ASSERT_EQ(::mkdir(path_.c_str(), 0755), 0);
  expect_damaged();
  std::filesystem::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0644), 0);
  expect_damaged();
  std::filesystem::remove(path_);
  std::filesystem::create_symlink("/dev/zero", path_);
  expect_damaged();
  std::filesystem::remove(path_);
  for (const auto* target : {"nothing", "."}) {
    std::filesystem::create_symlink(target, path_);
    const auto done = read();
    ASSERT_FALSE(done) << target;
    EXPECT_THAT(done.error().message(), AllOf(HasSubstr("chunk 17"), HasSubstr(path_)));
    std::filesystem::remove(path_);
  }
  const auto done = read();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(done.error().message(), AllOf(HasSubstr("chunk 17"), HasSubstr(path_)));
}

TEST_F(ChunkTest, ALinkToTheRightContentIsTheRightContent) {
  const std::string elsewhere = directory_.write("elsewhere", compressed(as_text(content_)));
  std::filesystem::create_symlink(elsewhere, path_);
  EXPECT_TRUE(read());
}

}  // namespace
}  // namespace spore::snapshot
