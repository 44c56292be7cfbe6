// Putting a CPU into 64-bit mode with an identity mapping, as the Linux boot protocol wants it
// (Documentation/x86/boot.rst, "64-bit boot protocol").
#pragma once

#include "isa/cpu_state.h"
#include "memory/guest_memory.h"

namespace spore::isa {

// Guest-physical addresses of what enter_long_mode() writes.
inline constexpr memory::GuestAddress kBootGdt = 0x500;
inline constexpr memory::GuestAddress kBootPageTables = 0x9000;  // six pages

inline constexpr std::uint16_t kBootCodeSelector = 0x10;
inline constexpr std::uint16_t kBootDataSelector = 0x18;

// Writes page tables (the first 4 GiB, identity, 2 MiB pages) and a GDT into memory and sets the
// control and segment registers of `state` to ring 0 of 64-bit mode. Memory must reach to 64 KiB.
void enter_long_mode(const memory::GuestMemory& memory, CpuState& state);

}  // namespace spore::isa
