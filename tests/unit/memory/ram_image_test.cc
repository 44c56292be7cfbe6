// Images that lie in files, and what a saver sees of any.
#include "memory/ram_image.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/files.h"
#include "memory/memory_file.h"
#include "memory/ram.h"

namespace spore::memory {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::size_t kPages = 1024;
const std::vector<RamPiece> kLayout{{0, kPages* kPageSize}};

std::vector<std::byte> page_full_of(int value) {
  return std::vector<std::byte>(kPageSize, static_cast<std::byte>(value));
}

// A regular file of that size, open for reading only, with pages full of their value.
base::UniqueFd file_on_disk(std::uint64_t size,
                            const std::vector<std::pair<std::size_t, int>>& pages) {
  std::string path = ::testing::TempDir() + "ram_image_XXXXXX";
  const base::UniqueFd file(::mkstemp(path.data()));
  EXPECT_TRUE(file.valid());
  EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(size)), 0);
  for (const auto& [page, value] : pages) {
    EXPECT_TRUE(base::write_all_at(file.get(), page_full_of(value), page * kPageSize, "the file"));
  }
  base::UniqueFd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ::unlink(path.c_str());
  return reader;
}

std::vector<std::uint32_t> own_pages(const RamImage& image) {
  std::vector<std::uint32_t> pages;
  EXPECT_TRUE(image.for_each_own_page([&](std::uint32_t page, std::span<const std::byte> bytes) {
    EXPECT_EQ(bytes.data(), image.page(page));
    pages.push_back(page);
    return Result<void>();
  }));
  return pages;
}

std::unique_ptr<Ram> loaded(const std::shared_ptr<const RamImage>& image) {
  auto ram = Ram::reserve(kLayout).value();
  EXPECT_TRUE(ram->load(image));
  return ram;
}
std::byte at(const Ram& ram, std::size_t page) {
  return ram.memory().regions().front().bytes[page * kPageSize + 100];
}

TEST(RamImageTest, AFileOnDiskIsMapped) {
  const auto image =
      RamImage::mapped(file_on_disk(kPages * kPageSize, {{3, 30}, {9, 90}}), kPages * kPageSize)
          .value();
  const auto ram = loaded(image);
  EXPECT_EQ(at(*ram, 3), std::byte{30});
  EXPECT_EQ(at(*ram, 4), std::byte{0});
  ASSERT_TRUE(ram->memory().store(9 * kPageSize, std::uint64_t{1}));
  EXPECT_EQ(at(*loaded(image), 9), std::byte{90});
  const auto layer = ram->capture().value();
  EXPECT_EQ(layer->parent(), image);
  EXPECT_THAT(own_pages(*layer), ElementsAre(9));
  EXPECT_FALSE(ram->load(image).value().anew);
  EXPECT_EQ(ram->memory().load<std::uint8_t>(9 * kPageSize), 90);
}

TEST(RamImageTest, AFileThatIsTooShortIsRefused) {
  const auto image = RamImage::mapped(file_on_disk(kPageSize, {}), kPages * kPageSize);
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code(), ErrorCode::kCorrupt);
}

TEST(RamImageTest, ALayersPagesLieOneAfterTheOtherInAFile) {
  const auto base =
      RamImage::mapped(file_on_disk(kPages * kPageSize, {{3, 30}}), kPages * kPageSize).value();
  std::vector<std::pair<std::size_t, int>> in_file{{0, 1}, {1, 2}};
  std::vector<std::uint32_t> pages{3, 700};
  for (std::uint32_t page = 800; page < 900; ++page) {  // a run long enough to be mapped
    in_file.emplace_back(pages.size(), 5);
    pages.push_back(page);
  }
  const auto layer =
      RamImage::layer_of(base, file_on_disk(pages.size() * kPageSize, in_file), pages).value();
  EXPECT_EQ(own_pages(*layer), pages);
  const auto ram = loaded(layer);
  EXPECT_EQ(at(*ram, 3), std::byte{1});
  EXPECT_EQ(at(*ram, 700), std::byte{2});
  EXPECT_EQ(at(*ram, 850), std::byte{5});
  EXPECT_EQ(at(*ram, 0), std::byte{0});
  EXPECT_EQ(ram->private_bytes().value(), 2 * kPageSize);
}

TEST(RamImageTest, ALayersListIsChecked) {
  const auto base =
      RamImage::mapped(file_on_disk(kPages * kPageSize, {}), kPages * kPageSize).value();
  const auto refused = [&](std::vector<std::uint32_t> pages, std::size_t in_file) {
    const auto layer = RamImage::layer_of(base, file_on_disk(in_file * kPageSize, {}), pages);
    return !layer && layer.error().code() == ErrorCode::kCorrupt;
  };
  EXPECT_FALSE(refused({}, 0));
  EXPECT_FALSE(refused({0, kPages - 1}, 2));
  EXPECT_TRUE(refused({0, kPages}, 2));
  EXPECT_TRUE(refused({4, 4}, 2));
  EXPECT_TRUE(refused({5, 4}, 2));
  EXPECT_TRUE(refused({4, 5}, 1));
}

TEST(RamImageTest, OwnPagesOfABaseAreThoseThatItsFileHas) {
  auto ram = Ram::create(kLayout).value();
  for (const std::size_t page : {0, 1, 500, 1023}) {
    ASSERT_TRUE(ram->memory().store(page * kPageSize, std::uint8_t{1}));
  }
  const auto pages = own_pages(*ram->capture().value());
  for (const std::uint32_t page : {0, 1, 500, 1023}) {  // a huge page would hold more
    EXPECT_TRUE(std::binary_search(pages.begin(), pages.end(), page)) << page;
  }
  const auto none = RamImage::mapped(file_on_disk(kPages * kPageSize, {}), kPages * kPageSize);
  EXPECT_LE(own_pages(**none).size(), kPages);
}

TEST(RamImageTest, AnErrorEndsTheListOfOwnPages) {
  auto ram = Ram::create(kLayout).value();
  ASSERT_TRUE(ram->memory().store(0, std::uint8_t{1}));
  const auto base = ram->capture().value();
  ASSERT_TRUE(ram->memory().store(kPageSize, std::uint8_t{1}));
  ASSERT_TRUE(ram->memory().store(kPageSize * 2, std::uint8_t{1}));
  const auto layer = ram->capture().value();
  for (const auto& image : {base, layer}) {
    int calls = 0;
    const auto done = image->for_each_own_page([&](std::uint32_t, std::span<const std::byte>) {
      ++calls;
      return Result<void>(fail(ErrorCode::kResourceExhausted, "the disk is full"));
    });
    EXPECT_EQ(calls, 1);
    EXPECT_THAT(done.error().message(), HasSubstr("disk is full"));
  }
}

}  // namespace
}  // namespace spore::memory
