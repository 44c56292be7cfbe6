#include "memory/guest_memory.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <vector>

namespace spore::memory {
namespace {

class GuestMemoryTest : public ::testing::Test {
 protected:
  std::vector<std::byte> low_ = std::vector<std::byte>(100);
  std::vector<std::byte> high_ = std::vector<std::byte>(50);
  GuestMemory memory_{{{1000, low_}, {2000, high_}}};
};

TEST_F(GuestMemoryTest, FindsWhatIsInsideOneRegion) {
  EXPECT_EQ(memory_.writable(1000, 100)->data(), low_.data());
  EXPECT_EQ(memory_.writable(1099, 1)->data(), low_.data() + 99);
  EXPECT_EQ(memory_.readable(2010, 40)->data(), high_.data() + 10);
  EXPECT_EQ(memory_.writable(1050, 0)->size(), 0U);
}

TEST_F(GuestMemoryTest, RefusesWhatIsOutside) {
  constexpr auto kLast = std::numeric_limits<std::uint64_t>::max();
  constexpr auto kAll = std::numeric_limits<std::size_t>::max();
  EXPECT_FALSE(memory_.writable(999, 1));
  EXPECT_FALSE(memory_.writable(999, 2));
  EXPECT_FALSE(memory_.writable(1000, 101));
  EXPECT_FALSE(memory_.writable(1099, 2));
  EXPECT_FALSE(memory_.writable(1100, 0));
  EXPECT_FALSE(memory_.writable(1500, 1));
  EXPECT_FALSE(memory_.writable(1050, 1000));
  EXPECT_FALSE(memory_.writable(2050, 1));
  EXPECT_FALSE(memory_.writable(0, 1));
  EXPECT_FALSE(memory_.writable(kLast, 1));
  EXPECT_FALSE(memory_.writable(kLast, kAll));
  EXPECT_FALSE(memory_.writable(1001, kAll));
  EXPECT_FALSE(memory_.writable(1001, kAll - 1000));
}

TEST_F(GuestMemoryTest, CopiesAllOrNothing) {
  std::array<std::byte, 4> data;
  data.fill(std::byte{9});
  EXPECT_FALSE(memory_.write(1097, data));
  EXPECT_EQ(low_, std::vector<std::byte>(100));
  EXPECT_TRUE(memory_.write(1096, data));
  EXPECT_EQ(low_[99], std::byte{9});
  data.fill(std::byte{1});
  EXPECT_FALSE(memory_.read(1097, data));
  EXPECT_EQ(data[0], std::byte{1});
  EXPECT_TRUE(memory_.read(1096, data));
  EXPECT_EQ(data[3], std::byte{9});
}

TEST_F(GuestMemoryTest, ValuesAreLittleEndian) {
  EXPECT_TRUE(memory_.store(2046, std::uint32_t{0x04030201}));
  EXPECT_EQ(high_[46], std::byte{1});
  EXPECT_EQ(memory_.load<std::uint16_t>(2048), 0x0403);
  EXPECT_FALSE(memory_.load<std::uint32_t>(2047));
  EXPECT_FALSE(memory_.store(2047, std::uint32_t{0}));
}

}  // namespace
}  // namespace spore::memory
