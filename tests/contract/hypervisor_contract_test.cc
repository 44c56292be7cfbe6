// What every backend must do, tried with micro guests. Where this host's KVM cannot be used at all,
// the tests skip with the reason; they run again in the nest.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "kvm/kvm_hypervisor.h"
#include "support/micro_guest.h"

namespace spore {
namespace {

using testing::kMicroData;
using testing::kMicroDevice;
using testing::make_micro_guest;
using testing::MicroGuest;

template <typename... Bytes>
constexpr std::array<std::uint8_t, sizeof...(Bytes)> code(Bytes... bytes) {
  return {static_cast<std::uint8_t>(bytes)...};
}

// out 0x7e, al
constexpr auto kOutAl = code(0xe6, 0x7e);
// jmp to itself
constexpr auto kSpin = code(0xeb, 0xfe);

class HypervisorContract : public ::testing::Test {
 protected:
  void SetUp() override {
    auto created = kvm::create_kvm_hypervisor();
    if (!created) {
      GTEST_SKIP() << created.error().message();
    }
    hypervisor_ = std::move(*created);
  }

  // Runs until something other than an interruption.
  static vm::VcpuExit run(vm::Vcpu& vcpu) {
    vm::VcpuExit exit = vcpu.run();
    while (std::holds_alternative<vm::ExitInterrupted>(exit)) {
      exit = vcpu.run();
    }
    return exit;
  }

  std::unique_ptr<vm::Hypervisor> hypervisor_;
};

TEST_F(HypervisorContract, PortWriteExitsWithPortSizeAndValue) {
  // mov eax, 0x12345678; mov dx, 0x2f8; out dx, eax
  const auto program = code(0xb8, 0x78, 0x56, 0x34, 0x12, 0x66, 0xba, 0xf8, 0x02, 0xef);
  MicroGuest guest = make_micro_guest(*hypervisor_, program);
  const vm::VcpuExit exit = run(*guest.vcpu);
  const auto* port = std::get_if<vm::ExitPort>(&exit);
  ASSERT_NE(port, nullptr);
  EXPECT_TRUE(port->is_write);
  EXPECT_EQ(port->port, 0x2f8);
  ASSERT_EQ(port->data.size(), 4u);
  std::uint32_t value = 0;
  std::memcpy(&value, port->data.data(), sizeof(value));
  EXPECT_EQ(value, 0x12345678u);
}

TEST_F(HypervisorContract, PortReadGivesTheGuestWhatWasFilledIn) {
  // in al, 0x7f; out 0x7e, al
  const auto program = code(0xe4, 0x7f, 0xe6, 0x7e);
  MicroGuest guest = make_micro_guest(*hypervisor_, program);
  vm::VcpuExit exit = run(*guest.vcpu);
  auto* port = std::get_if<vm::ExitPort>(&exit);
  ASSERT_NE(port, nullptr);
  ASSERT_FALSE(port->is_write);
  port->data[0] = std::byte{0x42};
  exit = run(*guest.vcpu);
  port = std::get_if<vm::ExitPort>(&exit);
  ASSERT_NE(port, nullptr);
  EXPECT_TRUE(port->is_write);
  EXPECT_EQ(port->data[0], std::byte{0x42});
}

TEST_F(HypervisorContract, StringPortWriteCarriesEveryElement) {
  // mov rsi, kMicroData; mov ecx, 5; mov dx, 0x3f8; rep outsb; out 0x7e, al
  const auto program = code(0x48, 0xc7, 0xc6, 0x00, 0x00, 0x02, 0x00, 0xb9, 5, 0, 0, 0, 0x66, 0xba,
                            0xf8, 0x03, 0xf3, 0x6e, 0xe6, 0x7e);
  MicroGuest guest = make_micro_guest(*hypervisor_, program);
  ASSERT_TRUE(guest.ram->memory().write(kMicroData, std::as_bytes(std::span("spore", 5))));
  std::string got;
  for (;;) {
    const vm::VcpuExit exit = run(*guest.vcpu);
    const auto* port = std::get_if<vm::ExitPort>(&exit);
    ASSERT_NE(port, nullptr);
    if (port->port == 0x7e) {
      break;
    }
    ASSERT_EQ(port->size, 1u);
    got.append(reinterpret_cast<const char*>(port->data.data()), port->data.size());
  }
  EXPECT_EQ(got, "spore");
}

TEST_F(HypervisorContract, DeviceMemoryAccessesExitWithAddressSizeAndDirection) {
  // mov edi, kMicroDevice + 8; mov ax, 0xbeef; mov [rdi], ax; mov rax, [rdi + 8]; out 0x7e, al
  const auto program = code(0xbf, 0x08, 0x00, 0x00, 0xd0, 0x66, 0xb8, 0xef, 0xbe, 0x66, 0x89, 0x07,
                            0x48, 0x8b, 0x47, 0x08, 0xe6, 0x7e);
  MicroGuest guest = make_micro_guest(*hypervisor_, program);
  vm::VcpuExit exit = run(*guest.vcpu);
  auto* mmio = std::get_if<vm::ExitMmio>(&exit);
  ASSERT_NE(mmio, nullptr);
  EXPECT_TRUE(mmio->is_write);
  EXPECT_EQ(mmio->address, kMicroDevice + 8);
  ASSERT_EQ(mmio->data.size(), 2u);
  EXPECT_EQ(mmio->data[0], std::byte{0xef});
  EXPECT_EQ(mmio->data[1], std::byte{0xbe});
  exit = run(*guest.vcpu);
  mmio = std::get_if<vm::ExitMmio>(&exit);
  ASSERT_NE(mmio, nullptr);
  EXPECT_FALSE(mmio->is_write);
  EXPECT_EQ(mmio->address, kMicroDevice + 16);
  ASSERT_EQ(mmio->data.size(), 8u);
  mmio->data[0] = std::byte{0x17};
  exit = run(*guest.vcpu);
  const auto* port = std::get_if<vm::ExitPort>(&exit);
  ASSERT_NE(port, nullptr);
  EXPECT_EQ(port->data[0], std::byte{0x17});
}

TEST_F(HypervisorContract, GuestWritesAreInTheMappedMemory) {
  // mov edi, kMicroData; mov dword [rdi], 0x11223344; out 0x7e, al
  const auto program =
      code(0xbf, 0x00, 0x00, 0x02, 0x00, 0xc7, 0x07, 0x44, 0x33, 0x22, 0x11, 0xe6, 0x7e);
  MicroGuest guest = make_micro_guest(*hypervisor_, program);
  run(*guest.vcpu);
  EXPECT_EQ(guest.ram->memory().load<std::uint32_t>(kMicroData), 0x11223344u);
}

TEST_F(HypervisorContract, SettleFinishesTheInstructionSoThatARestoreDoesNotReplayIt) {
  // mov edi, kMicroDevice; mov [rdi], eax; out 0x7e, al
  const auto program = code(0xbf, 0x00, 0x00, 0x00, 0xd0, 0x89, 0x07, 0xe6, 0x7e);
  MicroGuest guest = make_micro_guest(*hypervisor_, program);
  ASSERT_TRUE(std::holds_alternative<vm::ExitMmio>(run(*guest.vcpu)));
  ASSERT_TRUE(std::holds_alternative<vm::ExitInterrupted>(guest.vcpu->settle()));
  const auto state = guest.vcpu->save();
  ASSERT_TRUE(state);
  EXPECT_EQ(state->rip, testing::kMicroCode + 7);

  MicroGuest other = make_micro_guest(*hypervisor_, program);
  ASSERT_TRUE(other.vcpu->restore(*state));
  EXPECT_TRUE(std::holds_alternative<vm::ExitPort>(run(*other.vcpu)));
}

TEST_F(HypervisorContract, KickInterruptsARunningVcpu) {
  MicroGuest guest = make_micro_guest(*hypervisor_, kSpin);
  std::atomic<bool> over{false};
  std::thread kicker([&] {
    while (!over) {
      guest.vcpu->kick();
      std::this_thread::yield();
    }
  });
  const vm::VcpuExit exit = guest.vcpu->run();
  over = true;
  kicker.join();
  EXPECT_TRUE(std::holds_alternative<vm::ExitInterrupted>(exit));
}

TEST_F(HypervisorContract, KickBeforeRunIsNotLostAndCanBeTakenBack) {
  MicroGuest guest = make_micro_guest(*hypervisor_, kOutAl);
  guest.vcpu->kick();
  EXPECT_TRUE(std::holds_alternative<vm::ExitInterrupted>(guest.vcpu->run()));
  guest.vcpu->kick();
  guest.vcpu->clear_kick();
  EXPECT_TRUE(std::holds_alternative<vm::ExitPort>(guest.vcpu->run()));
}

TEST_F(HypervisorContract, StateComesBackAsItWasSaved) {
  // movd xmm3, eax; out 0x7e, al
  const auto program = code(0x66, 0x0f, 0x6e, 0xd8, 0xe6, 0x7e);
  MicroGuest guest = make_micro_guest(*hypervisor_, program);
  auto state = guest.vcpu->save();
  ASSERT_TRUE(state);
  for (std::size_t i = 0; i < state->gpr.size(); ++i) {
    if (i != isa::kRsp) {
      state->gpr[i] = 0x0101010101010101ULL * (i + 1);
    }
  }
  state->db[0] = 0x1234;
  ASSERT_TRUE(guest.vcpu->restore(*state));
  ASSERT_TRUE(std::holds_alternative<vm::ExitPort>(run(*guest.vcpu)));
  ASSERT_TRUE(std::holds_alternative<vm::ExitInterrupted>(guest.vcpu->settle()));
  const auto saved = guest.vcpu->save();
  ASSERT_TRUE(saved);

  MicroGuest other = make_micro_guest(*hypervisor_, kSpin);
  ASSERT_TRUE(other.vcpu->restore(*saved));
  auto again = other.vcpu->save();
  ASSERT_TRUE(again);
  EXPECT_GE(again->tsc, saved->tsc);
  again->tsc = saved->tsc;  // time goes on
  EXPECT_EQ(again->gpr, saved->gpr);
  EXPECT_EQ(again->rip, saved->rip);
  EXPECT_EQ(again->xsave, saved->xsave);
  EXPECT_EQ(again->lapic, saved->lapic);
  EXPECT_EQ(again->msrs, saved->msrs);
  EXPECT_TRUE(*again == *saved);
}

TEST_F(HypervisorContract, AForkedMachineSeesTheCaptureAndKeepsItsWritesToItself) {
  // mov edi, kMicroData; inc dword [rdi]; mov al, [rdi]; out 0x7e, al
  const auto program = code(0xbf, 0x00, 0x00, 0x02, 0x00, 0xff, 0x07, 0x8a, 0x07, 0xe6, 0x7e);
  MicroGuest parent = make_micro_guest(*hypervisor_, program);
  ASSERT_TRUE(parent.ram->memory().store(kMicroData, std::uint32_t{40}));
  const auto state = parent.vcpu->save();
  ASSERT_TRUE(state);
  const auto image = parent.ram->capture();
  ASSERT_TRUE(image);
  for (int child = 0; child < 3; ++child) {
    auto ram = memory::Ram::reserve({{0, (*image)->size()}});
    ASSERT_TRUE(ram);
    ASSERT_TRUE((*ram)->load(*image));
    auto machine = hypervisor_->create_vm(vm::WriteTracking::kOff);
    ASSERT_TRUE(machine);
    ASSERT_TRUE((*machine)->map_memory(0, 0, (*ram)->memory().regions().front().bytes));
    ASSERT_TRUE((*machine)->create_interrupt_controller());
    auto vcpu = (*machine)->create_vcpu(0, 1);
    ASSERT_TRUE(vcpu);
    ASSERT_TRUE((*vcpu)->restore(*state));
    const vm::VcpuExit exit = run(**vcpu);
    const auto* port = std::get_if<vm::ExitPort>(&exit);
    ASSERT_NE(port, nullptr);
    EXPECT_EQ(port->data[0], std::byte{41});
  }
  EXPECT_EQ(parent.ram->memory().load<std::uint32_t>(kMicroData), 40u);
}

TEST_F(HypervisorContract, ATripleFaultIsAShutdown) {
  const auto program = code(0x0f, 0x0b);  // ud2, with no interrupt table
  MicroGuest guest = make_micro_guest(*hypervisor_, program);
  EXPECT_TRUE(std::holds_alternative<vm::ExitShutdown>(run(*guest.vcpu)));
}

TEST_F(HypervisorContract, TheClockContinuesFromWhereItIsSet) {
  MicroGuest guest = make_micro_guest(*hypervisor_, kOutAl);
  const vm::VmClock wanted{123'000'000'000};
  ASSERT_TRUE(guest.machine->restore_clock(wanted));
  const auto clock = guest.machine->save_clock();
  ASSERT_TRUE(clock);
  EXPECT_GE(clock->guest_nanoseconds, wanted.guest_nanoseconds);
}

TEST_F(HypervisorContract, EightVcpusRunAtOnce) {
  constexpr std::uint32_t kCount = 8;
  auto ram = memory::Ram::create({{0, 2 * 1024 * 1024}});
  ASSERT_TRUE(ram);
  auto machine = hypervisor_->create_vm(vm::WriteTracking::kOff);
  ASSERT_TRUE(machine);
  ASSERT_TRUE((*machine)->map_memory(0, 0, (*ram)->memory().regions().front().bytes));
  ASSERT_TRUE((*machine)->create_interrupt_controller());
  std::vector<std::unique_ptr<vm::Vcpu>> vcpus;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    auto vcpu = (*machine)->create_vcpu(i, kCount);
    ASSERT_TRUE(vcpu);
    auto state = (*vcpu)->save();
    ASSERT_TRUE(state);
    testing::load_micro_guest((*ram)->memory(), kOutAl, *state);
    state->gpr[isa::kRax] = 100 + i;
    state->mp_state = isa::MpState::kRunnable;
    ASSERT_TRUE((*vcpu)->restore(*state));
    vcpus.push_back(std::move(*vcpu));
  }
  std::array<std::byte, kCount> values{};
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    threads.emplace_back([&, i] {
      const vm::VcpuExit exit = run(*vcpus[i]);
      if (const auto* port = std::get_if<vm::ExitPort>(&exit)) {
        values[i] = port->data[0];
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (std::uint32_t i = 0; i < kCount; ++i) {
    EXPECT_EQ(values[i], static_cast<std::byte>(100 + i));
  }
}

}  // namespace
}  // namespace spore
