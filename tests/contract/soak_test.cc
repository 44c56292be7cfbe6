// A shell that is reset very often, and machines that are forked very often, leave nothing behind:
// descriptors, threads and resident memory stay as they were. Needs a KVM that runs micro guests
// natively; in the nest it would take an hour.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/check.h"
#include "isa/board.h"
#include "kvm/kvm_hypervisor.h"
#include "support/ending.h"
#include "support/micro_guest.h"
#include "vm/vm.h"
#include "wire/generation_page.h"

namespace spore {
namespace {

// mov edi, 16 MiB; mov [rdi], edi; mov edi, doorbell; mov eax, kPowerOff; mov [rdi + 8], eax
constexpr auto kProgram =
    std::to_array<std::uint8_t>({0xbf, 0x00, 0x00, 0x00, 0x01, 0x89, 0x3f, 0xbf, 0x00, 0x00,
                                 0x01, 0xd0, 0xb8, 2,    0,    0,    0,    0x89, 0x47, 0x08});

struct Footprint {
  std::size_t descriptors = 0;
  std::size_t threads = 0;
  std::size_t resident_pages = 0;
};

std::size_t entries_of(const char* directory) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory)) {
    ++count;
  }
  return count;
}

Footprint footprint() {
  Footprint now{entries_of("/proc/self/fd"), entries_of("/proc/self/task"), 0};
  std::size_t size = 0;
  std::ifstream("/proc/self/statm") >> size >> now.resident_pages;
  return now;
}

void expect_flat(const Footprint& before, const Footprint& after) {
  EXPECT_EQ(after.descriptors, before.descriptors);
  EXPECT_EQ(after.threads, before.threads);
  constexpr std::size_t kSlackPages = 512;  // the allocator's, 2 MiB
  EXPECT_LE(after.resident_pages, before.resident_pages + kSlackPages);
}

class Soak : public ::testing::Test {
 protected:
  void SetUp() override {
    auto created = kvm::create_kvm_hypervisor();
    if (!created) {
      GTEST_SKIP() << created.error().message();
    }
    hypervisor_ = std::move(*created);
    testing::MicroGuest guest = testing::make_micro_guest(*hypervisor_, kProgram);
    vm::Capture capture;
    capture.config = {64 * kMiB, 1, {}};
    capture.state.cpus = {guest.vcpu->save().value()};
    capture.state.clock = guest.machine->save_clock().value();
    capture.generation.id = std::string(32, 'a');
    auto ram = memory::Ram::create(isa::ram_layout(capture.config.memory_bytes)).value();
    isa::CpuState unused = capture.state.cpus.front();
    testing::load_micro_guest(ram->memory(), kProgram, unused);
    capture.ram = ram->capture().value();
    capture_ = std::make_shared<const vm::Capture>(std::move(capture));
  }
  std::unique_ptr<vm::Shell> shell() {
    return vm::Shell::for_forks(*hypervisor_, capture_->shape(), capture_->ram).value();
  }
  // One whole machine; what is left of it.
  std::unique_ptr<vm::Shell> live(std::unique_ptr<vm::Shell> shell) {
    Generation generation;
    generation.number = 1;
    generation.id = std::string(32, 'b');
    generation.parent_id = capture_->generation.id;
    const auto ending = std::make_shared<testing::Ending>();
    ForkTimings timings;
    auto vm = vm::Vm::fork(std::move(shell), capture_, generation, ending, timings).value();
    vm->start();
    SPORE_CHECK(ending->await().reason == EndReason::kPoweredOff);
    return vm->release_shell();
  }

  std::unique_ptr<vm::Hypervisor> hypervisor_;
  std::shared_ptr<const vm::Capture> capture_;
};

TEST_F(Soak, AHundredThousandResetsOfOneShellLeaveNothing) {
  auto shell = this->shell();
  Footprint before;
  for (int i = 0; i < 100'000; ++i) {
    if (i == 1000) {
      before = footprint();
    }
    shell = live(std::move(shell));
    ASSERT_NE(shell, nullptr) << i;
  }
  expect_flat(before, footprint());
}

TEST_F(Soak, TenThousandForksLeaveNothing) {
  Footprint before;
  for (int i = 0; i < 10'000; ++i) {
    if (i == 100) {
      before = footprint();
    }
    ASSERT_NE(live(shell()), nullptr) << i;
  }
  expect_flat(before, footprint());
}

}  // namespace
}  // namespace spore
