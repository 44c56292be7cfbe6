// The architectural state of one x86_64 vCPU: registers by their names in the manuals (Intel SDM
// volume 3, AMD APM volume 2), independent of the hypervisor that holds them. A backend translates.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace spore::isa {

// A segment register with its hidden part (SDM 3.4.3).
struct Segment {
  std::uint64_t base = 0;
  std::uint32_t limit = 0;
  std::uint16_t selector = 0;
  std::uint8_t type = 0;
  std::uint8_t dpl = 0;
  bool present = false;
  bool db = false;
  bool s = false;
  bool l = false;
  bool g = false;
  bool avl = false;
  bool unusable = false;
  bool operator==(const Segment&) const = default;
};

struct DescriptorTable {
  std::uint64_t base = 0;
  std::uint16_t limit = 0;
  bool operator==(const DescriptorTable&) const = default;
};

struct Msr {
  std::uint32_t index = 0;
  std::uint64_t value = 0;
  bool operator==(const Msr&) const = default;
};

// Events between instructions (SDM 6.9): what is being delivered, pending or blocked.
struct PendingEvents {
  bool exception_injected = false;
  bool exception_has_error_code = false;
  std::uint8_t exception_vector = 0;
  std::uint32_t exception_error_code = 0;
  bool interrupt_injected = false;
  bool interrupt_soft = false;
  std::uint8_t interrupt_vector = 0;
  std::uint8_t interrupt_shadow = 0;
  bool nmi_injected = false;
  bool nmi_pending = false;
  bool nmi_masked = false;
  bool operator==(const PendingEvents&) const = default;
};

enum class MpState : std::uint8_t {
  kRunnable,
  kUninitialized,  // waits for INIT
  kInitReceived,   // waits for SIPI
  kHalted,
  kSipiReceived,
};

struct CpuState {
  // rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8 to r15
  std::array<std::uint64_t, 16> gpr{};
  std::uint64_t rip = 0;
  std::uint64_t rflags = 0x2;

  Segment cs, ds, es, fs, gs, ss, tr, ldt;
  DescriptorTable gdt, idt;
  std::uint64_t cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, cr8 = 0;
  std::uint64_t efer = 0;
  std::uint64_t apic_base = 0;
  std::array<std::uint64_t, 4> interrupt_bitmap{};

  std::array<std::uint64_t, 4> db{};
  std::uint64_t dr6 = 0xffff0ff0, dr7 = 0x400;

  std::uint64_t xcr0 = 1;
  std::vector<std::byte> xsave;  // the standard-format XSAVE area (SDM 13.4)

  // The local APIC's register page, 32-bit registers at multiples of 16 (SDM 10.4.1).
  std::vector<std::byte> lapic;

  std::vector<Msr> msrs;  // without those that have a field here
  std::uint64_t tsc = 0;
  std::uint64_t tsc_deadline = 0;
  std::uint32_t tsc_khz = 0;

  PendingEvents events;
  MpState mp_state = MpState::kRunnable;
  bool operator==(const CpuState&) const = default;
};

enum Gpr : std::size_t {
  kRax,
  kRbx,
  kRcx,
  kRdx,
  kRsi,
  kRdi,
  kRsp,
  kRbp,
  kR8,
  kR9,
  kR10,
  kR11,
  kR12,
  kR13,
  kR14,
  kR15,
};

}  // namespace spore::isa
