#include "virtio/rng.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "support/state_round_trip.h"
#include "support/virtio_driver_fake.h"
#include "virtio/mmio_transport.h"

namespace spore::virtio {
namespace {

using testing::CountingLine;
using testing::GuestRam;
using testing::VirtioDriverFake;

class RngTest : public ::testing::Test {
 protected:
  void fill(std::span<std::byte> bytes) {
    for (std::byte& byte : bytes) {
      byte = static_cast<std::byte>(++last_);
    }
  }
  GuestRam ram_;
  unsigned edges_ = 0;
  unsigned last_ = 0;
  std::unique_ptr<MmioTransport> transport_ = std::move(*MmioTransport::create(
      std::make_unique<RngDevice>([this](std::span<std::byte> bytes) { fill(bytes); }, RngState{}),
      ram_.memory(), std::make_unique<CountingLine>(edges_), {}));
  VirtioDriverFake driver_{*transport_, ram_};
};

TEST_F(RngTest, FillsWhatIsWritable) {
  EXPECT_EQ(driver_.read(kDeviceId), 4U);
  ASSERT_TRUE(driver_.start());
  const std::uint64_t address = driver_.allocate(5);
  driver_.add(0, {{driver_.place("x"), 1}, {address, 2, true}, {address + 2, 2, true}});
  driver_.kick(0);
  EXPECT_EQ(driver_.take_used(0)->length, 4U);
  EXPECT_EQ(driver_.bytes_at(address, 5), std::string("\1\2\3\4\0", 5));
  EXPECT_EQ(edges_, 1U);
}

TEST_F(RngTest, BoundsOneRequest) {
  ASSERT_TRUE(driver_.start());
  const std::uint64_t address = driver_.allocate(100'000);
  driver_.add(0, {{address, 100'000, true}});
  driver_.kick(0);
  EXPECT_EQ(driver_.take_used(0)->length, RngDevice::kMaxChainBytes);
  EXPECT_EQ(last_, RngDevice::kMaxChainBytes);
}

TEST_F(RngTest, ReadableChainsComeBackEmpty) {
  ASSERT_TRUE(driver_.start());
  driver_.add(0, {{driver_.allocate(4), 4}});
  driver_.kick(0);
  EXPECT_EQ(driver_.take_used(0)->length, 0U);
  EXPECT_EQ(last_, 0U);
}

TEST(RngStateTest, KeepsItsForm) {
  EXPECT_EQ(testing::through_cbor(RngState{}), RngState{});
  testing::expect_golden(RngState{}, "virtio_rng.json");
}

}  // namespace
}  // namespace spore::virtio
