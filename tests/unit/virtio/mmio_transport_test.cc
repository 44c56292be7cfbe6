#include "virtio/mmio_transport.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "support/state_round_trip.h"
#include "support/virtio_driver_fake.h"

namespace spore::virtio {
namespace {

using testing::CountingLine;
using testing::GuestRam;
using testing::VirtioDriverFake;

constexpr std::array<std::uint16_t, 2> kSizes = {8, 16};
constexpr std::uint64_t kOwnFeature = 1 << 3;

// Takes what is readable, and answers with the same bytes in upper case where there is room.
class EchoDevice final : public VirtioDevice {
 public:
  struct Log {
    std::vector<std::string> received;
    unsigned activations = 0;
    unsigned resets = 0;
    unsigned resumes = 0;
    std::uint64_t features = 0;
    std::function<void()> while_handling;
  };
  explicit EchoDevice(Log& log) : log_(log) {}
  std::string_view name() const noexcept override { return "echo"; }
  std::uint32_t id() const noexcept override { return 42; }
  std::uint64_t features() const noexcept override { return kOwnFeature; }
  std::span<const std::uint16_t> queue_sizes() const noexcept override { return kSizes; }
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override {
    read_config_struct(std::uint32_t{0x04030201}, offset, data);
  }
  void activate(std::uint64_t features, std::span<VirtQueue> queues) override {
    ++log_.activations;
    log_.features = features;
    queues_ = queues;
  }
  void on_notify(std::uint16_t queue) override {
    queues_[queue].drain([this](DescriptorChain& chain) {
      std::string text(chain.readable_bytes(), '\0');
      chain.read(std::as_writable_bytes(std::span(text)));
      log_.received.push_back(text);
      for (char& c : text) {
        c = static_cast<char>(std::toupper(c));
      }
      chain.write(std::as_bytes(std::span(text)));
      chain.complete();
      if (log_.while_handling) {
        log_.while_handling();
      }
    });
  }
  void on_resume() override { ++log_.resumes; }
  void on_reset() override {
    ++log_.resets;
    queues_ = {};
  }

 private:
  Log& log_;
  std::span<VirtQueue> queues_;
};

class MmioTransportTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<MmioTransport>> make(const MmioTransportState& state) {
    return MmioTransport::create(std::make_unique<EchoDevice>(log_), ram_.memory(),
                                 std::make_unique<CountingLine>(edges_), state);
  }

  GuestRam ram_;
  EchoDevice::Log log_;
  unsigned edges_ = 0;
  std::unique_ptr<MmioTransport> transport_ = std::move(*make({}));
  VirtioDriverFake driver_{*transport_, ram_};
};

TEST_F(MmioTransportTest, IdentifiesItself) {
  EXPECT_EQ(driver_.read(kMagicValue), 0x74726976U);
  EXPECT_EQ(driver_.read(kVersion), 2U);
  EXPECT_EQ(driver_.read(kDeviceId), 42U);
  EXPECT_EQ(driver_.offered_features(), kOwnFeature | kFeatureVersion1 | kFeatureEventIdx);
  EXPECT_EQ(driver_.read(kShmLenLow), 0xffffffffU);
  EXPECT_EQ(driver_.read_config<std::uint32_t>(0), 0x04030201U);
  EXPECT_EQ(driver_.read_config<std::uint8_t>(2), 3U);
  EXPECT_EQ(driver_.read_config<std::uint64_t>(3), 4U);
  EXPECT_EQ(driver_.read_config<std::uint32_t>(0xdfc), 0U);
}

TEST_F(MmioTransportTest, RegistersAreOnlyThirtyTwoBitsWide) {
  std::array<std::byte, 8> data;
  data.fill(std::byte{1});
  for (const std::size_t size : {1U, 2U, 8U}) {
    transport_->read(kMagicValue, std::span(data).first(size));
    EXPECT_EQ(data[0], std::byte{0});
    transport_->write(kStatus, std::span(data).first(size));
    EXPECT_EQ(driver_.read(kStatus), 0U);
  }
}

TEST_F(MmioTransportTest, AcceptsOnlyOfferedFeaturesAndVersionOne) {
  EXPECT_FALSE(driver_.negotiate(0));
  EXPECT_FALSE(driver_.negotiate(kOwnFeature));
  EXPECT_FALSE(driver_.negotiate(kFeatureVersion1 | 1 << 4));
  EXPECT_TRUE(driver_.negotiate(kFeatureVersion1));
  EXPECT_TRUE(driver_.negotiate(kFeatureVersion1 | kOwnFeature | kFeatureEventIdx));
}

TEST_F(MmioTransportTest, FeaturesAreFixedOnceAccepted) {
  ASSERT_TRUE(driver_.negotiate(kFeatureVersion1));
  driver_.write(kDriverFeaturesSel, 0);
  driver_.write(kDriverFeatures, kOwnFeature);
  EXPECT_EQ(transport_->state().driver_features, kFeatureVersion1);
}

TEST_F(MmioTransportTest, NeedsFeaturesBeforeDriverOk) {
  driver_.write(kStatus, kStatusAcknowledge | kStatusDriver | kStatusDriverOk);
  EXPECT_EQ(driver_.read(kStatus), kStatusAcknowledge | kStatusDriver);
  EXPECT_EQ(log_.activations, 0U);
}

TEST_F(MmioTransportTest, StatusBitsAreOnlyClearedByReset) {
  ASSERT_TRUE(driver_.start());
  driver_.write(kStatus, kStatusAcknowledge);
  EXPECT_NE(driver_.read(kStatus) & kStatusDriverOk, 0U);
  driver_.write(kStatus, 0);
  EXPECT_EQ(driver_.read(kStatus), 0U);
  EXPECT_EQ(log_.resets, 1U);
  MmioTransportState fresh;
  fresh.device_id = 42;
  fresh.queues.resize(2);
  EXPECT_EQ(transport_->state(), fresh);
}

TEST_F(MmioTransportTest, CarriesBytesBothWays) {
  ASSERT_TRUE(driver_.start(kFeatureVersion1 | kOwnFeature));
  EXPECT_EQ(log_.features, kFeatureVersion1 | kOwnFeature);
  const std::uint64_t answer = driver_.allocate(8);
  const auto head = driver_.add(1, {{driver_.place("he"), 2},
                                    {driver_.place("llo"), 3},
                                    {answer, 2, true},
                                    {answer + 2, 6, true}});
  driver_.kick(1);
  EXPECT_EQ(log_.received, std::vector<std::string>{"hello"});
  const auto used = driver_.take_used(1);
  ASSERT_TRUE(used);
  EXPECT_EQ(used->id, head);
  EXPECT_EQ(used->length, 5U);
  EXPECT_EQ(driver_.bytes_at(answer, 5), "HELLO");
  EXPECT_EQ(edges_, 1U);
  EXPECT_EQ(driver_.handle_interrupt(), kInterruptUsedBuffer);
  EXPECT_EQ(driver_.read(kInterruptStatus), 0U);
}

TEST_F(MmioTransportTest, NotifyBeforeDriverOkDoesNothing) {
  ASSERT_TRUE(driver_.negotiate(kFeatureVersion1));
  ASSERT_TRUE(driver_.set_up_queue(0));
  driver_.add(0, {{driver_.place("x"), 1}});
  driver_.kick(0);
  EXPECT_TRUE(log_.received.empty());
}

TEST_F(MmioTransportTest, RefusesQueuesThatCannotBe) {
  ASSERT_TRUE(driver_.negotiate(kFeatureVersion1));
  struct Case {
    std::uint64_t offset;
    std::uint32_t value;
  };
  const auto end = static_cast<std::uint32_t>(ram_.end());
  for (const Case& bad :
       {Case{kQueueNum, 0}, Case{kQueueNum, 3}, Case{kQueueNum, 32}, Case{kQueueNum, 0x80000000},
        Case{kQueueDescLow, 0}, Case{kQueueDescLow, GuestRam::kBase + 8}, Case{kQueueDescHigh, 1},
        Case{kQueueDescHigh, 0xffffffff}, Case{kQueueDescLow, end - 16},
        Case{kQueueDriverLow, GuestRam::kBase + 1}, Case{kQueueDriverLow, end - 4},
        Case{kQueueDeviceLow, GuestRam::kBase + 2}, Case{kQueueDeviceHigh, 0x80000000},
        Case{kQueueDeviceLow, end}}) {
    driver_.write(kQueueSel, 1);
    driver_.write(kQueueReady, 0);
    ASSERT_TRUE(driver_.set_up_queue(1, 16));
    driver_.write(kQueueReady, 0);
    driver_.write(bad.offset, bad.value);
    driver_.write(kQueueReady, 1);
    EXPECT_EQ(driver_.read(kQueueReady), 0U) << std::hex << bad.offset << " " << bad.value;
  }
  driver_.write(kQueueSel, 2);
  EXPECT_EQ(driver_.read(kQueueNumMax), 0U);
  driver_.write(kQueueReady, 1);
  EXPECT_EQ(driver_.read(kQueueReady), 0U);
}

TEST_F(MmioTransportTest, RespectsNoInterruptFlag) {
  ASSERT_TRUE(driver_.start());
  driver_.set_available_flags(0, kAvailNoInterrupt);
  driver_.add(0, {{driver_.place("x"), 1}});
  driver_.kick(0);
  EXPECT_EQ(edges_, 0U);
  driver_.set_available_flags(0, 0);
  driver_.add(0, {{driver_.place("x"), 1}});
  driver_.kick(0);
  EXPECT_EQ(edges_, 1U);
}

TEST_F(MmioTransportTest, EventIndexDecidesAboutInterruptsAcrossTheWrap) {
  ASSERT_TRUE(driver_.start(kFeatureVersion1 | kFeatureEventIdx));
  for (unsigned i = 0; i < 70'000; ++i) {
    const auto index = static_cast<std::uint16_t>(i);
    // Every other time the driver asks about the buffer after this one.
    driver_.set_used_event(0, static_cast<std::uint16_t>(i % 2 == 0 ? index : index + 1));
    driver_.add(0, {{GuestRam::kBase, 1}});
    driver_.kick(0);
    ASSERT_EQ(edges_, i / 2 + 1) << i;
    ASSERT_TRUE(driver_.take_used(0));
    ASSERT_EQ(driver_.available_event(0), static_cast<std::uint16_t>(index + 1));
  }
}

TEST_F(MmioTransportTest, BadChainsComeBackUnusedAndAreCounted) {
  ASSERT_TRUE(driver_.start());
  const std::uint64_t inside = driver_.allocate(64);
  const Descriptor good{inside, 4, 0, 0};
  const auto huge = ~std::uint64_t{0};
  const std::vector<Descriptor> bad = {
      {0, 4, 0, 0},                                        // below RAM
      {ram_.end(), 1, 0, 0},                               // above
      {ram_.end() - 1, 2, 0, 0},                           // across the end
      {huge, 2, 0, 0},                                     // wraps
      {inside, 0xffffffff, kDescriptorWrite, 0},           // too long
      {inside, 4, kDescriptorNext, 0},                     // a loop
      {inside, 4, kDescriptorNext, 8},                     // next outside the table
      {inside, 4, kDescriptorNext, 0xffff},                // same
      {inside, 16, kDescriptorIndirect, 0},                // not offered
      {inside, 4, kDescriptorNext | kDescriptorWrite, 1},  // readable after writable
  };
  std::uint64_t count = 0;
  for (const Descriptor& descriptor : bad) {
    driver_.set_descriptor(0, 0, descriptor);
    driver_.set_descriptor(0, 1, good);
    driver_.make_available(0, 0);
    driver_.kick(0);
    EXPECT_EQ(transport_->dropped_chains(), ++count);
    const auto used = driver_.take_used(0);
    ASSERT_TRUE(used);
    EXPECT_EQ(used->length, 0U);
  }
  EXPECT_TRUE(log_.received.empty());
  driver_.set_descriptor(0, 0, good);
  driver_.make_available(0, 0);
  driver_.kick(0);
  EXPECT_EQ(log_.received.size(), 1U);
  EXPECT_EQ(driver_.read(kStatus) & kStatusNeedsReset, 0U);
}

TEST_F(MmioTransportTest, BrokenRingsAskForAReset) {
  for (int kind = 0; kind < 2; ++kind) {
    ASSERT_TRUE(driver_.start());
    edges_ = 0;
    if (kind == 0) {
      driver_.set_available_index(0, 9);  // more than the queue holds
    } else {
      driver_.make_available(0, 8);  // no such descriptor
    }
    driver_.kick(0);
    EXPECT_NE(driver_.read(kStatus) & kStatusNeedsReset, 0U);
    EXPECT_EQ(driver_.read(kInterruptStatus), kInterruptConfigChange);
    EXPECT_EQ(edges_, 1U);
    driver_.add(1, {{GuestRam::kBase, 1}});
    driver_.kick(1);  // nothing works until then, in a restored machine neither
    auto restored = make(transport_->state());
    ASSERT_TRUE(restored) << restored.error().message();
    (*restored)->write(kQueueNotify, std::as_bytes(std::span(&kSizes, 1)));
    EXPECT_TRUE(log_.received.empty());
  }
  EXPECT_TRUE(driver_.start());
  driver_.add(1, {{GuestRam::kBase, 1}});
  driver_.kick(1);
  EXPECT_EQ(log_.received.size(), 1U);
}

TEST_F(MmioTransportTest, WorkBudgetGivesTheCpuBackAndGoesOnAtTheAcknowledgement) {
  ASSERT_TRUE(driver_.start(kFeatureVersion1 | kFeatureEventIdx));
  driver_.set_used_event(0, 0x8000);  // not interested
  unsigned refills = 0;
  log_.while_handling = [&] {  // another vCPU that never stops
    if (++refills <= VirtQueue::kWorkBudget + 4) {
      driver_.take_used(0);
      driver_.add(0, {{GuestRam::kBase, 1}});
    }
  };
  driver_.add(0, {{GuestRam::kBase, 1}});
  driver_.kick(0);
  EXPECT_EQ(log_.received.size(), VirtQueue::kWorkBudget);
  EXPECT_EQ(edges_, 1U);
  EXPECT_TRUE(transport_->state().queues[0].unfinished);
  EXPECT_EQ(driver_.handle_interrupt(), kInterruptUsedBuffer);
  EXPECT_EQ(log_.received.size(), VirtQueue::kWorkBudget + 5);
  EXPECT_FALSE(transport_->state().queues[0].unfinished);
}

MmioTransportState example_state() {
  MmioTransportState state;
  state.device_id = 42;
  state.status = kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk | kStatusDriverOk;
  state.interrupt_status = kInterruptUsedBuffer;
  state.driver_features_sel = 1;
  state.driver_features = kFeatureVersion1 | kFeatureEventIdx;
  state.queue_sel = 1;
  state.queues = {{8, true, 0x10000, 0x10100, 0x10200, 65535, 65534, 65533, true},
                  {16, true, 0x11000, 0x11200, 0x11400, 3, 3, 3, false}};
  return state;
}

TEST_F(MmioTransportTest, StateKeepsItsForm) {
  const MmioTransportState state = example_state();
  EXPECT_EQ(testing::through_json(state), state);
  EXPECT_EQ(testing::through_cbor(state), state);
  testing::expect_golden(state, "virtio_mmio_transport.json");
}

TEST_F(MmioTransportTest, RestoresExactlyAndRaisesWhatWasNotAcknowledged) {
  auto restored = make(example_state());
  ASSERT_TRUE(restored);
  EXPECT_EQ((*restored)->state(), example_state());
  EXPECT_EQ(log_.activations, 1U);
  EXPECT_EQ(edges_, 0U);
  (*restored)->resume();
  EXPECT_EQ(edges_, 1U);
  EXPECT_EQ(log_.resumes, 1U);
}

TEST_F(MmioTransportTest, GoesOnInARestoredMachine) {
  ASSERT_TRUE(driver_.start(kFeatureVersion1 | kFeatureEventIdx));
  driver_.add(1, {{driver_.place("one"), 3}});
  driver_.kick(1);
  driver_.handle_interrupt();
  auto child = std::move(*make(testing::through_json(transport_->state())));
  driver_.move_to(*child, ram_);
  driver_.set_used_event(1, 1);
  driver_.add(1, {{driver_.place("two"), 3}});
  driver_.kick(1);
  EXPECT_EQ(log_.received, (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(edges_, 2U);
  driver_.take_used(1);
  EXPECT_TRUE(driver_.take_used(1));
}

TEST_F(MmioTransportTest, RefusesStatesThatCannotBeAndNamesTheField) {
  struct Case {
    std::function<void(MmioTransportState&)> damage;
    std::string field;
  };
  const std::vector<Case> cases = {
      {[](auto& state) { state.device_id = 1; }, "device_id"},
      {[](auto& state) { state.status |= 16; }, "status"},
      {[](auto& state) { state.status = kStatusDriverOk; }, "status"},
      {[](auto& state) { state.status = kStatusAcknowledge; }, "queues[0]"},
      {[](auto& state) { state.interrupt_status = 4; }, "interrupt_status"},
      {[](auto& state) { state.driver_features = 0; }, "driver_features"},
      {[](auto& state) { state.driver_features |= 1; }, "driver_features"},
      {[](auto& state) { state.queues.pop_back(); }, "queues has 1"},
      {[](auto& state) { state.queues.clear(); }, "queues has 0"},
      {[](auto& state) { state.queues[0].size = 7; }, "queues[0].size"},
      {[](auto& state) { state.queues[0].size = 16; }, "queues[0].size"},
      {[](auto& state) { state.queues[1].descriptors = 8; }, "queues[1].descriptors"},
      {[](auto& state) { state.queues[1].available = ~std::uint64_t{1}; }, "queues[1].available"},
      {[](auto& state) { state.queues[1].used = 0x10; }, "queues[1].used"},
  };
  for (const Case& bad : cases) {
    MmioTransportState state = example_state();
    bad.damage(state);
    const auto restored = make(state);
    ASSERT_FALSE(restored) << bad.field;
    EXPECT_EQ(restored.error().code(), ErrorCode::kCorrupt);
    EXPECT_NE(restored.error().message().find(bad.field), std::string::npos)
        << restored.error().message();
  }
}

TEST(EmptyMmioSlotTest, HasNoDevice) {
  EmptyMmioSlot slot;
  GuestRam ram;
  VirtioDriverFake driver(slot, ram);
  EXPECT_EQ(driver.read(kMagicValue), kMmioMagic);
  EXPECT_EQ(driver.read(kVersion), 2U);
  EXPECT_EQ(driver.read(kDeviceId), 0U);
  driver.write(kStatus, 1);
  EXPECT_EQ(driver.read(kStatus), 0U);
}

TEST_F(MmioTransportTest, MutatedDescriptorsAndRingsNeverReachOutsideRam) {
  std::mt19937_64 random(20261121);  // NOLINT: the same every time
  for (int round = 0; round < 3000; ++round) {
    VirtioDriverFake driver(*transport_, ram_);
    ASSERT_TRUE(driver.start(kFeatureVersion1 | (round % 2 == 0 ? kFeatureEventIdx : 0)));
    for (std::uint16_t i = 0; i < 8; ++i) {
      const std::uint64_t address =
          random() % 4 == 0 ? random() : GuestRam::kBase + random() % 70'000;
      driver.set_descriptor(
          0, i,
          {address, static_cast<std::uint32_t>(random() >> random() % 33),
           static_cast<std::uint16_t>(random() % 8), static_cast<std::uint16_t>(random() % 9)});
      driver.make_available(0, static_cast<std::uint16_t>(random() % (round % 5 == 0 ? 9 : 8)));
    }
    driver.kick(0);
    ASSERT_TRUE(make(transport_->state()));
    log_.received.clear();
  }
  EXPECT_TRUE(ram_.guards_intact());
  EXPECT_GT(transport_->dropped_chains(), 100U);
}

TEST_F(MmioTransportTest, RandomRegisterWritesLeaveARestorableState) {
  std::mt19937_64 random(7);  // NOLINT: the same every time
  constexpr std::array<std::uint64_t, 17> kRegisters = {kDeviceFeaturesSel,
                                                        kDriverFeatures,
                                                        kDriverFeaturesSel,
                                                        kQueueSel,
                                                        kQueueNum,
                                                        kQueueReady,
                                                        kQueueNotify,
                                                        kInterruptAck,
                                                        kStatus,
                                                        kQueueDescLow,
                                                        kQueueDescHigh,
                                                        kQueueDriverLow,
                                                        kQueueDriverHigh,
                                                        kQueueDeviceLow,
                                                        kQueueDeviceHigh,
                                                        kConfig,
                                                        0xffc};
  for (int i = 0; i < 200'000; ++i) {
    const std::uint32_t values[] = {
        0, 1, 2, 3, 8, 11, 15, 16, 0x10000, 0x11000, static_cast<std::uint32_t>(random())};
    driver_.write(kRegisters[random() % kRegisters.size()], values[random() % std::size(values)]);
    driver_.read(random() % kMmioWindowSize / 4 * 4);
    if (i % 1000 == 0) {
      ASSERT_TRUE(make(transport_->state()));
    }
  }
  EXPECT_TRUE(ram_.guards_intact());
}

}  // namespace
}  // namespace spore::virtio
