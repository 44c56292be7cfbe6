#include "virtio/console.h"

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

class ConsoleTest : public ::testing::Test {
 protected:
  GuestRam ram_;
  std::string output_;
  unsigned edges_ = 0;
  std::unique_ptr<MmioTransport> transport_ = std::move(*MmioTransport::create(
      std::make_unique<ConsoleDevice>([this](std::string_view text) { output_ += text; },
                                      ConsoleState{}),
      ram_.memory(), std::make_unique<CountingLine>(edges_), {}));
  VirtioDriverFake driver_{*transport_, ram_};
};

TEST_F(ConsoleTest, PrintsWhatTheGuestTransmits) {
  EXPECT_EQ(driver_.read(kDeviceId), 3U);
  ASSERT_TRUE(driver_.start());
  driver_.add(1, {{driver_.place("hello, "), 7}, {driver_.place("world"), 5}});
  driver_.add(1, {{driver_.place("\n"), 1}});
  driver_.kick(1);
  EXPECT_EQ(output_, "hello, world\n");
  ASSERT_TRUE(driver_.take_used(1));
  EXPECT_EQ(driver_.take_used(1)->length, 0U);
  EXPECT_EQ(edges_, 1U);
}

TEST_F(ConsoleTest, LeavesReceiveBuffersAlone) {
  ASSERT_TRUE(driver_.start());
  driver_.add(0, {{driver_.allocate(16), 16, true}});
  driver_.kick(0);
  EXPECT_FALSE(driver_.take_used(0));
}

TEST_F(ConsoleTest, BoundsWhatOneChainPrints) {
  ASSERT_TRUE(driver_.start());
  const auto all = static_cast<std::uint32_t>(ram_.size());
  driver_.add(1, {{GuestRam::kBase, all}, {GuestRam::kBase, all}});
  driver_.kick(1);
  EXPECT_EQ(output_.size(), ConsoleDevice::kMaxChainBytes);
  EXPECT_TRUE(driver_.take_used(1));
}

TEST_F(ConsoleTest, NothingPrintedForEmptyOrWritableChains) {
  ASSERT_TRUE(driver_.start());
  driver_.add(1, {{driver_.allocate(4), 4, true}});
  driver_.add(1, {{driver_.allocate(4), 0}});
  driver_.kick(1);
  EXPECT_EQ(output_, "");
  EXPECT_TRUE(driver_.take_used(1));
  EXPECT_TRUE(driver_.take_used(1));
  driver_.write(kStatus, 0);
  EXPECT_TRUE(driver_.start());
}

TEST(ConsoleStateTest, KeepsItsForm) {
  EXPECT_EQ(testing::through_cbor(ConsoleState{}), ConsoleState{});
  testing::expect_golden(ConsoleState{}, "virtio_console.json");
}

}  // namespace
}  // namespace spore::virtio
