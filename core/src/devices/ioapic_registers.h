// Registers of the I/O APIC: Intel 82093AA data sheet (290566-001), section 3; and the message
// format of an interrupt: Intel SDM volume 3, 11.11.
#pragma once

#include <cstdint>

namespace spore::devices {

// 3.1, memory-mapped registers.
inline constexpr std::uint64_t kIoRegSel = 0x00;
inline constexpr std::uint64_t kIoWin = 0x10;

// 3.2, registers selected by IOREGSEL.
inline constexpr std::uint8_t kIoapicId = 0x00;
inline constexpr std::uint8_t kIoapicVersion = 0x01;
inline constexpr std::uint8_t kIoapicArbitration = 0x02;
inline constexpr std::uint8_t kIoapicRedirection = 0x10;  // two per pin, the low half first
inline constexpr unsigned kIoapicIdShift = 24;
inline constexpr std::uint32_t kIoapicVersionNumber = 0x11;
inline constexpr unsigned kIoapicMaxEntryShift = 16;

// 3.2.4, a redirection table entry.
inline constexpr std::uint64_t kRedirectionVector = 0xff;
inline constexpr std::uint64_t kRedirectionDeliveryMode = 0x7 << 8;
inline constexpr std::uint64_t kRedirectionLogical = 1 << 11;
inline constexpr std::uint64_t kRedirectionDeliveryStatus = 1 << 12;
inline constexpr std::uint64_t kRedirectionRemoteIrr = 1 << 14;
inline constexpr std::uint64_t kRedirectionLevel = 1 << 15;
inline constexpr std::uint64_t kRedirectionMasked = 1 << 16;
inline constexpr unsigned kRedirectionDestinationShift = 56;
inline constexpr std::uint64_t kRedirectionKnown = 0xff0000000001ffff;

// SDM 11.11.1, message address; 11.11.2, message data.
inline constexpr std::uint64_t kMsiAddressBase = 0xfee00000;
inline constexpr unsigned kMsiDestinationShift = 12;
inline constexpr std::uint64_t kMsiLogical = 1 << 2;
inline constexpr std::uint64_t kMsiLevelAssert = 1 << 15 | 1 << 14;

}  // namespace spore::devices
