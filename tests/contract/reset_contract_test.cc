// What resets need of a backend: it tells every page that a guest writes, and a vCPU that is set
// back runs as if it had never run. Tried with micro guests, in a shell as machines have it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>
#include <vector>

#include "isa/board.h"
#include "kvm/kvm_hypervisor.h"
#include "support/micro_guest.h"
#include "vm/shell.h"

namespace spore {
namespace {

using testing::kMicroCode;
using testing::kMicroData;

constexpr std::uint64_t kMiBytes = 1024 * 1024;

// mov esi, kMicroData; loop: mov edi, [rsi]; test edi, edi; jz done; mov [rdi], edi; add esi, 4;
// jmp loop; done: out 0x7e, al
constexpr auto kWriteList =
    std::to_array<std::uint8_t>({0xbe, 0x00, 0x00, 0x02, 0x00, 0x8b, 0x3e, 0x85, 0xff, 0x74,
                                 0x07, 0x89, 0x3f, 0x83, 0xc6, 0x04, 0xeb, 0xf3, 0xe6, 0x7e});

// mov edi, 16 MiB; loop: mov [rdi], edi; add edi, 4096; cmp edi, 112 MiB; jb loop; out 0x7e, al
constexpr auto kWriteMuch = std::to_array<std::uint8_t>(
    {0xbf, 0x00, 0x00, 0x00, 0x01, 0x89, 0x3f, 0x81, 0xc7, 0x00, 0x10, 0x00,
     0x00, 0x81, 0xff, 0x00, 0x00, 0x00, 0x07, 0x72, 0xf0, 0xe6, 0x7e});
constexpr std::size_t kMuchFirst = 16 * kMiBytes / 4096;
constexpr std::size_t kMuchCount = 96 * kMiBytes / 4096;

// Some states are a clock's.
isa::CpuState without_time(isa::CpuState state) {
  state.tsc = 0;
  return state;
}

class ResetContract : public ::testing::Test {
 protected:
  void SetUp() override {
    auto created = kvm::create_kvm_hypervisor();
    if (!created) {
      GTEST_SKIP() << created.error().message();
    }
    hypervisor_ = std::move(*created);
  }

  void prepare(std::span<const std::uint8_t> program, std::uint64_t memory_bytes,
               std::uint32_t cpus = 1) {
    shape_ = {memory_bytes, cpus};
    auto ram = memory::Ram::create(isa::ram_layout(memory_bytes)).value();
    const auto bytes = ram->memory().regions().front().bytes;
    for (std::size_t at = 0; at < bytes.size(); at += 4096) {
      std::memset(bytes.data() + at, static_cast<int>(at / 4096 % 253), 64);
    }
    // The state of a vCPU is a hypervisor's: one that exists has to be asked.
    auto shell = vm::Shell::for_boot(*hypervisor_, shape_).value();
    for (const auto& vcpu : shell->vcpus()) {
      states_.push_back(vcpu->save().value());
      testing::load_micro_guest(ram->memory(), program, states_.back());
      states_.back().mp_state = isa::MpState::kRunnable;
    }
    image_ = ram->capture().value();
  }
  std::unique_ptr<vm::Shell> shell() {
    return vm::Shell::for_forks(*hypervisor_, shape_, image_).value();
  }

  void put_back(vm::Shell& shell, const std::shared_ptr<const memory::RamImage>& image) {
    const auto loaded = shell.load(image);
    ASSERT_TRUE(loaded) << loaded.error().message();
    for (std::size_t i = 0; i < states_.size(); ++i) {
      ASSERT_TRUE(shell.vcpus()[i]->restore(states_[i]));
    }
  }
  // Until the guest says that it is done.
  static void run(vm::Shell& shell, std::size_t cpu = 0) {
    vm::Vcpu& vcpu = *shell.vcpus()[cpu];
    for (;;) {
      const vm::VcpuExit exit = vcpu.run();
      if (!std::holds_alternative<vm::ExitInterrupted>(exit)) {
        ASSERT_TRUE(std::holds_alternative<vm::ExitPort>(exit)) << exit.index();
        break;
      }
    }
    while (!std::holds_alternative<vm::ExitInterrupted>(vcpu.settle())) {
    }
  }
  static std::size_t differing_pages(vm::Shell& shell, const memory::RamImage& image) {
    std::size_t count = 0;
    const std::byte* window = shell.ram().memory().regions().front().bytes.data();
    for (std::size_t page = 0; page < image.size() / 4096; ++page) {
      count += std::memcmp(window + page * 4096, image.page(page), 4096) != 0 ? 1 : 0;
    }
    return count;
  }
  void expect_equal(vm::Shell& shell, const memory::RamImage& image) {
    EXPECT_EQ(differing_pages(shell, image), 0U);
    for (std::size_t i = 0; i < states_.size(); ++i) {
      const auto state = shell.vcpus()[i]->save();
      ASSERT_TRUE(state);
      EXPECT_TRUE(without_time(*state) == without_time(saved_[i]));
    }
  }
  // What a backend answers for the states that it was given.
  void remember(vm::Shell& shell) {
    saved_.clear();
    for (const auto& vcpu : shell.vcpus()) {
      saved_.push_back(vcpu->save().value());
    }
  }

  std::unique_ptr<vm::Hypervisor> hypervisor_;
  vm::ShellShape shape_;
  std::vector<isa::CpuState> states_;
  std::vector<isa::CpuState> saved_;
  std::shared_ptr<const memory::RamImage> image_;
};

// The workload of one round: addresses that the guest writes to, and those that a device does.
void choose_writes(std::mt19937& random, vm::Shell& shell, std::uint64_t memory_bytes) {
  std::vector<std::uint32_t> addresses(random() % 600);
  for (std::uint32_t& address : addresses) {
    address = static_cast<std::uint32_t>(kMiBytes + random() % (memory_bytes - kMiBytes - 8));
  }
  addresses.push_back(0);
  ASSERT_TRUE(shell.ram().memory().write(kMicroData, std::as_bytes(std::span(addresses))));
  for (std::size_t i = random() % 20; i > 0; --i) {
    const std::vector<std::byte> bytes(1 + random() % 9000, static_cast<std::byte>(random()));
    const std::uint64_t address = kMiBytes + random() % (memory_bytes - kMiBytes - bytes.size());
    ASSERT_TRUE(shell.ram().memory().write(address, bytes));
  }
}

TEST_F(ResetContract, FiveHundredRandomWorkloadsLeaveNothingBehind) {
  constexpr std::uint64_t kMemory = 4 * kMiBytes;
  prepare(kWriteList, kMemory);
  const auto shell = this->shell();
  put_back(*shell, image_);
  remember(*shell);
  std::mt19937 random(500);
  for (int workload = 0; workload < 500 && !HasFailure(); ++workload) {
    SCOPED_TRACE(workload);
    choose_writes(random, *shell, kMemory);
    run(*shell);
    put_back(*shell, image_);
    expect_equal(*shell, *image_);
  }
}

TEST_F(ResetContract, AShellGoesToAnySporeOfATree) {
  constexpr std::uint64_t kMemory = 4 * kMiBytes;
  prepare(kWriteList, kMemory);
  const auto shell = this->shell();
  put_back(*shell, image_);
  remember(*shell);
  std::mt19937 random(8);
  std::vector<std::shared_ptr<const memory::RamImage>> levels{image_};
  while (levels.size() < 8) {
    choose_writes(random, *shell, kMemory);
    run(*shell);
    ASSERT_TRUE(shell->collect_written());
    levels.push_back(shell->ram().capture().value());
    ASSERT_EQ(differing_pages(*shell, *levels.back()), 0U);
    put_back(*shell, levels.back());
  }
  for (int round = 0; round < 100 && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    choose_writes(random, *shell, kMemory);
    run(*shell);
    const auto& level = levels[random() % levels.size()];
    put_back(*shell, level);
    expect_equal(*shell, *level);
  }
}

TEST_F(ResetContract, NoPageIsLostOfManyThatWereWritten) {
  prepare(kWriteMuch, 128 * kMiBytes);
  const auto shell = this->shell();
  for (int round = 0; round < 2; ++round) {
    put_back(*shell, image_);
    remember(*shell);
    run(*shell);
    ASSERT_TRUE(shell->collect_written());
    for (std::size_t page = kMuchFirst; page < kMuchFirst + kMuchCount; ++page) {
      ASSERT_TRUE(shell->ram().written()->contains(page)) << page;
    }
    // And the accessed bits of its page tables.
    EXPECT_GE(differing_pages(*shell, *image_), kMuchCount);
    put_back(*shell, image_);
    expect_equal(*shell, *image_);
  }
}

TEST_F(ResetContract, EveryVcpusWritesAreSeen) {
  constexpr std::uint32_t kCpus = 4;
  constexpr std::uint64_t kMemory = 16 * kMiBytes;
  prepare(kWriteList, kMemory, kCpus);
  const auto shell = this->shell();
  put_back(*shell, image_);
  remember(*shell);
  std::mt19937 random(4);
  for (int round = 0; round < 20 && !HasFailure(); ++round) {
    for (std::uint32_t cpu = 0; cpu < kCpus; ++cpu) {
      choose_writes(random, *shell, kMemory);
      run(*shell, cpu);
    }
    put_back(*shell, image_);
    expect_equal(*shell, *image_);
  }
}

TEST_F(ResetContract, AnAccessUnderWayDoesNotReachTheNextLife) {
  // mov edi, kMicroDevice; mov eax, [rdi]; out 0x7e, al
  const auto program =
      std::to_array<std::uint8_t>({0xbf, 0x00, 0x00, 0x00, 0xd0, 0x8b, 0x07, 0xe6, 0x7e});
  prepare(program, 16 * kMiBytes);
  const auto shell = this->shell();
  vm::Vcpu& vcpu = *shell->vcpus().front();
  for (int round = 0; round < 3; ++round) {
    put_back(*shell, image_);
    vm::VcpuExit exit = vcpu.run();
    auto* mmio = std::get_if<vm::ExitMmio>(&exit);
    ASSERT_NE(mmio, nullptr);
    // Its answer is not what the next life reads.
    mmio->data[0] = static_cast<std::byte>(100 + round);
    ASSERT_TRUE(std::holds_alternative<vm::ExitInterrupted>(vcpu.settle()));
    vcpu.clear_kick();
    put_back(*shell, image_);
    exit = vcpu.run();
    mmio = std::get_if<vm::ExitMmio>(&exit);
    ASSERT_NE(mmio, nullptr);
    mmio->data[0] = static_cast<std::byte>(7);
    exit = vcpu.run();
    const auto* port = std::get_if<vm::ExitPort>(&exit);
    ASSERT_NE(port, nullptr);
    EXPECT_EQ(port->data[0], static_cast<std::byte>(7));
    while (!std::holds_alternative<vm::ExitInterrupted>(vcpu.settle())) {
    }
  }
}

}  // namespace
}  // namespace spore
