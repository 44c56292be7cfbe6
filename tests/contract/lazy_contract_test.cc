// Machines whose RAM is loaded as they touch it: by a guest's own accesses, and by those that a
// hypervisor makes on its behalf.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "isa/board.h"
#include "kvm/kvm_hypervisor.h"
#include "support/ending.h"
#include "support/fake_chunks.h"
#include "support/micro_guest.h"
#include "vm/vm.h"

namespace spore {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kText = 16 * 1024 * 1024;
constexpr std::uint32_t kTextChunk = kText / memory::kChunkBytes;
constexpr char kBad[] = "chunk 8 (sha256 ab12): its bytes do not match its name";

// mov al, 'A'; mov dx, 0x3f8; out dx, al
constexpr auto kPrintA = std::to_array<std::uint8_t>({0xb0, 'A', 0x66, 0xba, 0xf8, 0x03, 0xee});
// mov edi, kText; mov al, [rdi]; add al, 'B'; out dx, al
constexpr auto kPrintSum =
    std::to_array<std::uint8_t>({0xbf, 0x00, 0x00, 0x00, 0x01, 0x8a, 0x07, 0x04, 'B', 0xee});
// mov esi, kText; mov ecx, 5; rep outsb; mov al, 'C'; out dx, al
constexpr auto kPrintText = std::to_array<std::uint8_t>(
    {0xbe, 0x00, 0x00, 0x00, 0x01, 0xb9, 0x05, 0x00, 0x00, 0x00, 0xf3, 0x6e, 0xb0, 'C', 0xee});
// mov edi, doorbell; mov eax, kPowerOff; mov [rdi + 8], eax
constexpr auto kPowerOff =
    std::to_array<std::uint8_t>({0xbf, 0x00, 0x00, 0x01, 0xd0, 0xb8, 2, 0, 0, 0, 0x89, 0x47, 0x08});
// jmp to itself
constexpr auto kJumpToItself = std::to_array<std::uint8_t>({0xeb, 0xfe});

std::vector<std::uint8_t> program(std::initializer_list<std::span<const std::uint8_t>> parts) {
  std::vector<std::uint8_t> code;
  for (const auto part : parts) {
    code.insert(code.end(), part.begin(), part.end());
  }
  return code;
}

class LazyContract : public ::testing::Test {
 protected:
  void SetUp() override {
    auto created = kvm::create_kvm_hypervisor();
    if (!created) {
      GTEST_SKIP() << created.error().message();
    }
    hypervisor_ = std::move(*created);
    if (const auto userfault = memory::Userfault::create(); !userfault) {
      GTEST_SKIP() << userfault.error().message();
    }
  }

  // The first vCPU runs `code`, all others spin.
  void prepare(std::span<const std::uint8_t> code, std::uint32_t cpus = 1) {
    vm::Capture capture;
    capture.config = {isa::kMinMemory, cpus, {}};
    capture.generation.id = std::string(32, 'a');
    auto shell = vm::Shell::for_boot(*hypervisor_, capture.shape()).value();
    const memory::GuestMemory& ram = shell->ram().memory();
    for (const auto& vcpu : shell->vcpus()) {
      isa::CpuState& state = capture.state.cpus.emplace_back(vcpu->save().value());
      testing::load_micro_guest(ram, code, state);
      state.mp_state = isa::MpState::kRunnable;
      if (capture.state.cpus.size() > 1) {
        state.rip = testing::kMicroData;
      }
    }
    ASSERT_TRUE(ram.write(testing::kMicroData, std::as_bytes(std::span(kJumpToItself))));
    ASSERT_TRUE(ram.write(kText, std::as_bytes(std::span("\x01pore", 5))));
    capture.state.clock = shell->machine().save_clock().value();
    chunks_ = std::make_shared<testing::FakeChunks>(ram.regions().front().bytes);
    capture.ram =
        memory::RamImage::lazy(ram.regions().front().bytes.size(), chunks_->list(), chunks_)
            .value();
    capture_ = std::make_shared<const vm::Capture>(std::move(capture));
  }
  std::unique_ptr<vm::Shell> shell() {
    return vm::Shell::for_forks(*hypervisor_, capture_->shape(), capture_->ram).value();
  }
  struct Life {
    MachineEnd end;
    std::string console;
    std::unique_ptr<vm::Shell> shell;
  };
  Life live(std::unique_ptr<vm::Shell> shell) {
    Generation generation;
    generation.number = 1;
    generation.id = std::string(32, 'b');
    generation.parent_id = capture_->generation.id;
    const auto ending = std::make_shared<testing::Ending>();
    ForkTimings timings;
    auto vm = vm::Vm::fork(std::move(shell), capture_, generation, ending, timings).value();
    vm->start();
    Life life{ending->await(), vm->console_text(), nullptr};
    life.shell = vm->release_shell();
    return life;
  }

  std::unique_ptr<vm::Hypervisor> hypervisor_;
  std::shared_ptr<testing::FakeChunks> chunks_;
  std::shared_ptr<const vm::Capture> capture_;
};

TEST_F(LazyContract, AGuestReadsWhatItsSporeHolds) {
  prepare(program({kPrintA, kPrintSum, kPrintText, kPowerOff}));
  auto shell = this->shell();
  for (int life = 0; life < 3; ++life) {
    Life lived = live(std::move(shell));
    EXPECT_EQ(lived.end.reason, EndReason::kPoweredOff) << lived.end.detail;
    EXPECT_EQ(lived.console, "ACporeC");
    shell = std::move(lived.shell);
    ASSERT_NE(shell, nullptr);
  }
  EXPECT_EQ(capture_->ram->fill()->counters().chunks_loaded, 2U);
}

TEST_F(LazyContract, AGuestThatTouchesABadChunkEndsThere) {
  prepare(program({kPrintA, kPrintSum, kPowerOff}), 2);
  chunks_->refuse(kTextChunk, kBad);
  for (int machine = 0; machine < 20; ++machine) {
    const Life lived = live(shell());
    EXPECT_EQ(lived.end.reason, EndReason::kEngineFailed);
    EXPECT_THAT(lived.end.detail, HasSubstr(kBad));
    EXPECT_EQ(lived.console, "A");
    EXPECT_EQ(lived.shell, nullptr);
  }
}

TEST_F(LazyContract, AGuestWhoseHypervisorTouchesABadChunkEndsThere) {
  prepare(program({kPrintA, kPrintText, kPowerOff}));
  chunks_->refuse(kTextChunk, kBad);
  for (int machine = 0; machine < 20; ++machine) {
    const Life lived = live(shell());
    EXPECT_EQ(lived.end.reason, EndReason::kEngineFailed);
    EXPECT_THAT(lived.end.detail, HasSubstr(kBad));
    EXPECT_EQ(lived.console, "A");
  }
}

TEST_F(LazyContract, AGuestThatCannotTouchItsFirstChunkEndsBeforeItRuns) {
  prepare(program({kPrintA, kPowerOff}));
  chunks_->refuse(0, "chunk 0 is missing");
  const Life lived = live(shell());
  EXPECT_EQ(lived.end.reason, EndReason::kEngineFailed);
  EXPECT_THAT(lived.end.detail, HasSubstr("chunk 0 is missing"));
  EXPECT_EQ(lived.console, "");
}

TEST_F(LazyContract, AMachineIsClosedWhileItsGuestWaits) {
  prepare(program({kPrintA, kPrintSum, kPowerOff}));
  const std::vector<std::uint32_t> low{testing::kMicroCode / 4096, isa::kGenerationPage / 4096};
  ASSERT_TRUE(capture_->ram->ensure(low));
  chunks_->hold(true);
  const auto ending = std::make_shared<testing::Ending>();
  ForkTimings timings;
  Generation generation;
  generation.number = 1;
  generation.id = std::string(32, 'b');
  auto vm = vm::Vm::fork(shell(), capture_, generation, ending, timings).value();
  vm->start();
  chunks_->await_load(kTextChunk);
  std::thread closer([&] { vm->close(); });
  chunks_->hold(false);
  closer.join();
  EXPECT_THAT(ending->await().reason, ::testing::AnyOf(EndReason::kClosed, EndReason::kPoweredOff));
}

}  // namespace
}  // namespace spore
