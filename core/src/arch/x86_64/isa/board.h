// The x86_64 board: a fixed memory map, fixed interrupts, a fixed device list. Nothing here depends
// on what a machine is used for.
//
//   0x0000_0000  RAM (first 3 GiB of it); reserved inside: 0x9_fc00 to 0xf_ffff
//     0x000d_0000  generation page (RAM, reserved; see wire/generation_page.h)
//     0x000e_0000  ACPI tables
//   0xd000_0000  virtio-mmio slots, 4 KiB each
//   0xd001_0000  generation doorbell
//   0xfec0_0000  IOAPIC            0xfee0_0000  local APICs
//   0x1_0000_0000  the rest of RAM
//
// I/O ports: 0x3f8 serial. Interrupts: GSI 4 serial, 5 to 13 virtio slots, 14 generation (ACPI
// GED).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "memory/guest_memory.h"
#include "memory/ram.h"

namespace spore::isa {

// For spores on disk: what is fixed below is part of what they need. Any change of it, or of the
// devices' states, is another version.
inline constexpr std::string_view kArchitecture = "x86_64";
inline constexpr std::uint32_t kBoardVersion = 1;

// The virtio slots, in the order in which Linux probes them.
inline constexpr std::uint32_t kSlotConsole = 0;
inline constexpr std::uint32_t kSlotVsock = 1;
inline constexpr std::uint32_t kSlotRng = 2;
inline constexpr std::uint32_t kSlotFirstBlock = 3;
inline constexpr std::uint32_t kMaxBlockDevices = 6;
inline constexpr std::uint32_t kSlotCount = kSlotFirstBlock + kMaxBlockDevices;

inline constexpr std::uint32_t kMaxCpus = 8;
inline constexpr std::uint64_t kMinMemory = 64 * 1024 * 1024;
inline constexpr std::uint64_t kMaxMemory = 64ULL * 1024 * 1024 * 1024;

inline constexpr memory::GuestAddress kGenerationPage = 0x000d0000;
inline constexpr memory::GuestAddress kAcpiTables = 0x000e0000;
inline constexpr std::size_t kAcpiTablesSize = 0x10000;
inline constexpr memory::GuestAddress kSlotBase = 0xd0000000;
inline constexpr std::uint64_t kSlotSize = 0x1000;
inline constexpr memory::GuestAddress kDoorbell = 0xd0010000;
inline constexpr memory::GuestAddress kIoapic = 0xfec00000;
inline constexpr std::uint64_t kIoapicSize = 0x1000;
inline constexpr memory::GuestAddress kLocalApic = 0xfee00000;
inline constexpr std::uint16_t kSerialPort = 0x3f8;
inline constexpr std::uint16_t kSerialPorts = 8;

inline constexpr std::uint32_t kGsiSerial = 4;
inline constexpr std::uint32_t kGsiFirstSlot = 5;
inline constexpr std::uint32_t kGsiGeneration = kGsiFirstSlot + kSlotCount;

// Where RAM of `bytes` lies.
std::vector<memory::RamPiece> ram_layout(std::uint64_t bytes);

}  // namespace spore::isa
