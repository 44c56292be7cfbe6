// A device that reads RAM which is loaded as it is touched: the console's transmit queue of a
// machine whose vCPU is scripted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "isa/board.h"
#include "support/ending.h"
#include "support/fake_chunks.h"
#include "support/fake_hypervisor.h"
#include "virtio/mmio_registers.h"
#include "virtio/queue_registers.h"
#include "vm/vm.h"
#include "wire/generation_page.h"

namespace spore::vm {
namespace {

using testing::FakeChunks;
using testing::FakeCpu;
using testing::FakeHypervisor;
using ::testing::HasSubstr;

constexpr std::uint64_t kQueue = 2 * memory::kChunkBytes;  // table, rings and the last buffer
constexpr std::uint64_t kAvailable = kQueue + 0x1000;
constexpr std::uint64_t kUsed = kQueue + 0x2000;
constexpr std::uint64_t kGoodText = kQueue + 0x3000;
constexpr std::uint32_t kBadChunk = 8;
constexpr std::uint64_t kBadText = kBadChunk * memory::kChunkBytes;
constexpr char kBad[] = "chunk 8 (sha256 ab12): its bytes do not match its name";

class LazyVmTest : public ::testing::Test {
 protected:
  LazyVmTest() {
    std::vector<std::byte> ram(isa::kMinMemory);
    const auto put = [&](std::uint64_t address, const auto& value) {
      std::memcpy(ram.data() + address, &value, sizeof(value));
    };
    std::memcpy(ram.data() + kBadText, "one ", 4);
    std::memcpy(ram.data() + kGoodText, "two", 3);
    put(kQueue, virtio::Descriptor{kBadText, 4, virtio::kDescriptorNext, 1});
    put(kQueue + sizeof(virtio::Descriptor), virtio::Descriptor{kGoodText, 3, 0, 0});
    put(kAvailable + virtio::kAvailIndex, std::uint16_t{1});
    chunks_ = std::make_shared<FakeChunks>(ram);
    Capture capture;
    capture.config = {ram.size(), 1, {}};
    capture.generation.id = std::string(32, 'a');
    capture.state.cpus.resize(1);
    capture.ram = memory::RamImage::lazy(ram.size(), chunks_->list(), chunks_).value();
    capture_ = std::make_shared<const Capture>(std::move(capture));
  }
  void SetUp() override {
    if (const auto& why = capture_->ram->fill()->why_eager()) {
      GTEST_SKIP() << why->message();
    }
  }

  void write(std::uint64_t address, std::uint32_t value) {
    std::vector<std::byte> data(sizeof(value));
    std::memcpy(data.data(), &value, sizeof(value));
    hypervisor_.cpu(0, 0).write_mmio(address, std::move(data));
  }
  void console(std::uint64_t mmio_register, std::uint64_t value) {
    write(isa::kSlotBase + isa::kSlotConsole * isa::kSlotSize + mmio_register,
          static_cast<std::uint32_t>(value));
  }
  // What a driver does to print its chain.
  void transmit() {
    constexpr std::uint32_t kReady =
        virtio::kStatusAcknowledge | virtio::kStatusDriver | virtio::kStatusFeaturesOk;
    console(virtio::kStatus, virtio::kStatusAcknowledge | virtio::kStatusDriver);
    console(virtio::kDriverFeaturesSel, 1);
    console(virtio::kDriverFeatures, virtio::kFeatureVersion1 >> 32);
    console(virtio::kStatus, kReady);
    console(virtio::kQueueSel, 1);
    console(virtio::kQueueNum, 64);
    console(virtio::kQueueDescLow, kQueue);
    console(virtio::kQueueDriverLow, kAvailable);
    console(virtio::kQueueDeviceLow, kUsed);
    console(virtio::kQueueReady, 1);
    console(virtio::kStatus, kReady | virtio::kStatusDriverOk);
    console(virtio::kQueueNotify, 1);
    write(isa::kDoorbell + wire::kDoorbellRegRing,
          static_cast<std::uint32_t>(wire::DoorbellCommand::kPowerOff));
  }
  MachineEnd live() {
    Generation generation;
    generation.number = 1;
    generation.id = std::string(32, 'b');
    const auto ending = std::make_shared<testing::Ending>();
    ForkTimings timings;
    auto shell = Shell::for_forks(hypervisor_, capture_->shape(), capture_->ram).value();
    auto vm = Vm::fork(std::move(shell), capture_, generation, ending, timings).value();
    vm->start();
    MachineEnd end = ending->await();
    text_ = vm->console_text();
    used_shell_ = vm->release_shell();
    return end;
  }

  FakeHypervisor hypervisor_;
  std::shared_ptr<FakeChunks> chunks_;
  std::shared_ptr<const Capture> capture_;
  std::string text_;
  std::unique_ptr<Shell> used_shell_;
};

TEST_F(LazyVmTest, ADeviceReadsWhatTheSporeHolds) {
  transmit();
  EXPECT_EQ(live().reason, EndReason::kPoweredOff);
  EXPECT_EQ(text_, "one two");
  EXPECT_NE(used_shell_, nullptr);
}

TEST_F(LazyVmTest, ADeviceThatReadsABadChunkPassesNothingOn) {
  chunks_->refuse(kBadChunk, kBad);
  transmit();
  const MachineEnd end = live();
  EXPECT_EQ(end.reason, EndReason::kEngineFailed);
  EXPECT_THAT(end.detail, HasSubstr(kBad));
  EXPECT_EQ(text_, "");
  EXPECT_EQ(used_shell_, nullptr);
}

TEST_F(LazyVmTest, AMachineThatLosesAPageInItsForkEndsWhenItStarts) {
  std::vector<std::byte> ram(isa::kMinMemory);
  ram[isa::kGenerationPage] = std::byte{1};
  const auto chunks = std::make_shared<FakeChunks>(ram);
  chunks->refuse(0, "chunk 0 is missing");
  Capture capture = *capture_;
  capture.ram = memory::RamImage::lazy(ram.size(), chunks->list(), chunks).value();
  capture_ = std::make_shared<const Capture>(std::move(capture));
  const MachineEnd end = live();
  EXPECT_EQ(end.reason, EndReason::kEngineFailed);
  EXPECT_THAT(end.detail, HasSubstr("chunk 0 is missing"));
}

}  // namespace
}  // namespace spore::vm
