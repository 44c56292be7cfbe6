// RAM that is captured, loaded and put back, written to as a guest (through the window, told by a
// hypervisor) and as a device (through GuestMemory).
#include "memory/ram.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace spore::memory {
namespace {

constexpr std::size_t kPages = 2048;  // 8 MiB
const std::vector<RamPiece> kLayout{{0, 3 * kPages / 4 * kPageSize},
                                    {0x100000000, kPages / 4 * kPageSize}};

class RamTest : public ::testing::Test {
 protected:
  static std::byte* window(Ram& ram) { return ram.memory().regions().front().bytes.data(); }
  // As a guest does, and a hypervisor tells.
  static void write_as_guest(Ram& ram, std::size_t page, std::uint8_t value) {
    std::memset(window(ram) + page * kPageSize + 100, value, 8);
    ram.written()->add(page);
  }
  static std::uint8_t at(Ram& ram, std::size_t page) {
    return static_cast<std::uint8_t>(*(window(ram) + page * kPageSize + 100));
  }
  static bool equal(Ram& ram, const RamImage& image) {
    for (std::size_t page = 0; page < kPages; ++page) {
      if (std::memcmp(window(ram) + page * kPageSize, image.page(page), kPageSize) != 0) {
        return false;
      }
    }
    return true;
  }
  static std::shared_ptr<const RamImage> base_image() {
    auto ram = Ram::create(kLayout).value();
    for (std::size_t page = 0; page < kPages; page += 3) {
      std::memset(window(*ram) + page * kPageSize, static_cast<int>(page % 251), kPageSize);
    }
    return ram->capture().value();
  }
  static std::unique_ptr<Ram> loaded(const std::shared_ptr<const RamImage>& image) {
    auto ram = Ram::reserve(kLayout).value();
    EXPECT_TRUE(ram->load(image).value().anew);
    return ram;
  }
};

TEST_F(RamTest, AForkReadsTheImageAndWritesItsOwn) {
  const auto image = base_image();
  const auto one = loaded(image);
  const auto two = loaded(image);
  EXPECT_TRUE(equal(*one, *image));
  EXPECT_EQ(one->private_bytes().value(), 0U);
  write_as_guest(*one, 5, 77);
  EXPECT_EQ(at(*one, 5), 77);
  EXPECT_TRUE(equal(*two, *image));
  EXPECT_EQ(one->private_bytes().value(), kPageSize);
}

TEST_F(RamTest, LoadPutsBackWhatGuestAndDevicesWrote) {
  const auto image = base_image();
  const auto ram = loaded(image);
  write_as_guest(*ram, 5, 77);
  ASSERT_TRUE(ram->memory().store(0x100000000 + 10 * kPageSize - 2, std::uint32_t{0xdeadbeef}));
  const auto report = ram->load(image).value();
  EXPECT_FALSE(report.anew);
  EXPECT_EQ(report.checked, 3U);  // the store crossed a page
  EXPECT_EQ(report.copied, 3U);
  EXPECT_TRUE(equal(*ram, *image));
}

TEST_F(RamTest, APageThatWasWrittenOnceIsCheckedInEveryLoad) {
  const auto image = base_image();
  const auto ram = loaded(image);
  write_as_guest(*ram, 5, 77);
  ASSERT_TRUE(ram->load(image));
  std::memset(window(*ram) + 5 * kPageSize, 1, kPageSize);  // nobody tells: it is watched no more
  EXPECT_EQ(ram->load(image).value().copied, 1U);
  EXPECT_EQ(ram->load(image).value().copied, 0U);
  EXPECT_TRUE(equal(*ram, *image));
}

TEST_F(RamTest, ReadingThroughGuestMemoryWritesNothing) {
  const auto ram = loaded(base_image());
  std::array<std::byte, 64> bytes;
  ASSERT_TRUE(ram->memory().read(4096, bytes));
  ASSERT_TRUE(ram->memory().view(8192, 100));
  EXPECT_TRUE(ram->written()->pages().empty());
}

TEST_F(RamTest, ManyChecksInVainStartAfresh) {
  const auto image = base_image();
  const auto ram = loaded(image);
  for (std::size_t page = 0; page < 1000; ++page) {
    write_as_guest(*ram, page, 1);
  }
  bool anew = false;
  for (int i = 0; i < 20 && !anew; ++i) {
    anew = ram->load(image).value().anew;
  }
  EXPECT_TRUE(anew);
  EXPECT_TRUE(ram->written()->pages().empty());
  EXPECT_EQ(ram->private_bytes().value(), 0U);
  EXPECT_TRUE(equal(*ram, *image));
}

TEST_F(RamTest, ALayerHasOnlyWhatDiffers) {
  const auto image = base_image();
  const auto ram = loaded(image);
  write_as_guest(*ram, 5, 77);
  write_as_guest(*ram, 2000, 78);
  write_as_guest(*ram, 9, at(*ram, 9));
  std::memcpy(window(*ram) + 9 * kPageSize, image->page(9), kPageSize);  // as it was
  const auto layer = ram->capture().value();
  EXPECT_EQ(layer->own_bytes(), 2 * kPageSize);
  EXPECT_TRUE(layer->has_base_of(*image));
  EXPECT_TRUE(equal(*ram, *layer));
  const auto child = loaded(layer);
  EXPECT_EQ(at(*child, 5), 77);
  EXPECT_EQ(at(*child, 2000), 78);
  EXPECT_TRUE(equal(*child, *layer));
}

TEST_F(RamTest, AMachineThatGoesOnAfterItsCaptureMakesLayers) {
  auto ram = Ram::create(kLayout).value();
  std::memset(window(*ram), 1, kPageSize);
  const auto first = ram->capture().value();
  std::memset(window(*ram) + kPageSize, 2, kPageSize);
  const auto second = ram->capture().value();
  std::memset(window(*ram), 3, kPageSize);
  const auto third = ram->capture().value();
  EXPECT_EQ(second->own_bytes(), kPageSize);
  EXPECT_EQ(third->own_bytes(), kPageSize);
  EXPECT_EQ(*first->page(1), std::byte{0});
  EXPECT_EQ(*second->page(1), std::byte{2});
  EXPECT_EQ(*third->page(1), std::byte{2});
  EXPECT_EQ(*second->page(0), std::byte{1});
  EXPECT_EQ(*third->page(0), std::byte{3});
}

TEST_F(RamTest, LongRunsOfALayerAreSharedByItsChildren) {
  const auto ram = loaded(base_image());
  for (std::size_t page = 100; page < 600; ++page) {
    write_as_guest(*ram, page, 9);
  }
  write_as_guest(*ram, 1000, 9);
  const auto layer = ram->capture().value();
  const auto child = loaded(layer);
  EXPECT_TRUE(equal(*child, *layer));
  EXPECT_EQ(child->private_bytes().value(), kPageSize);  // the single page is copied
}

TEST_F(RamTest, AnotherBaseIsMappedAnew) {
  const auto ram = loaded(base_image());
  write_as_guest(*ram, 5, 77);
  const auto other = base_image();
  EXPECT_TRUE(ram->load(other).value().anew);
  EXPECT_TRUE(equal(*ram, *other));
}

// Eight levels; then any of them from any other, with random writes between.
TEST_F(RamTest, ATreeOfLayersIsGoneUpAndDownExactly) {
  std::mt19937 random(20261121);
  std::vector<std::shared_ptr<const RamImage>> levels{base_image()};
  const auto ram = loaded(levels.front());
  const auto scribble = [&](int count) {
    for (int i = 0; i < count; ++i) {
      write_as_guest(*ram, random() % kPages, static_cast<std::uint8_t>(random()));
    }
  };
  while (levels.size() < 8) {
    scribble(40);
    levels.push_back(ram->capture().value());
    EXPECT_LE(levels.back()->own_bytes(), 40 * kPageSize);
  }
  for (int round = 0; round < 200; ++round) {
    scribble(static_cast<int>(random() % 60));
    const auto& level = levels[random() % levels.size()];
    ASSERT_TRUE(ram->load(level));
    ASSERT_TRUE(equal(*ram, *level)) << "round " << round;
  }
  for (const auto& level : levels) {
    EXPECT_TRUE(equal(*loaded(level), *level));
  }
}

}  // namespace
}  // namespace spore::memory
