#include "bus/bus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace spore::bus {
namespace {

class Recorder final : public IoHandler {
 public:
  std::string_view name() const noexcept override { return "recorder"; }
  void read(std::uint64_t offset, std::span<std::byte> data) override {
    last = offset;
    std::fill(data.begin(), data.end(), std::byte{0x11});
  }
  void write(std::uint64_t offset, std::span<const std::byte> data) override {
    last = offset;
    written += data.size();
  }
  std::uint64_t last = ~std::uint64_t{0};
  std::size_t written = 0;
};

class BusTest : public ::testing::Test {
 protected:
  BusTest() {
    bus_.add({0x2000, 0x100, &second_});
    bus_.add({0x1000, 0x1000, &first_});
  }
  std::byte read(std::uint64_t address, std::size_t size) {
    data_.fill(std::byte{0});
    bus_.read(address, std::span(data_).first(size));
    return data_[0];
  }
  Recorder first_;
  Recorder second_;
  Bus bus_;
  std::array<std::byte, 8> data_{};
};

TEST_F(BusTest, GivesEachHandlerItsOffset) {
  EXPECT_EQ(read(0x1ffc, 4), std::byte{0x11});
  EXPECT_EQ(first_.last, 0xffcU);
  bus_.write(0x2000, data_);
  EXPECT_EQ(second_.last, 0U);
  EXPECT_EQ(second_.written, 8U);
  EXPECT_EQ(bus_.unclaimed_accesses(), 0U);
}

TEST_F(BusTest, NobodyThereReadsAsOnes) {
  for (const std::uint64_t address :
       {std::uint64_t{0}, std::uint64_t{0xfff}, std::uint64_t{0x2100}, ~std::uint64_t{0}}) {
    EXPECT_EQ(read(address, 4), std::byte{0xff});
    bus_.write(address, data_);
  }
  EXPECT_EQ(bus_.unclaimed_accesses(), 8U);
  EXPECT_EQ(first_.written + second_.written, 0U);
}

TEST_F(BusTest, AnAccessAcrossTheEndOfAWindowIsNobodys) {
  EXPECT_EQ(read(0x20fd, 4), std::byte{0xff});
  EXPECT_EQ(read(0x1ffd, 4), std::byte{0xff});
  EXPECT_EQ(bus_.unclaimed_accesses(), 2U);
}

TEST(BusDeathTest, OverlapIsABug) {
  Recorder handler;
  Bus bus;
  bus.add({0x1000, 0x100, &handler});
  EXPECT_DEATH(bus.add({0x10ff, 1, &handler}), "");
  EXPECT_DEATH(bus.add({0xf00, 0x101, &handler}), "");
}

}  // namespace
}  // namespace spore::bus
