// Offsets in the Linux boot parameters ("zero page", Documentation/x86/zero-page.rst) and its setup
// header (Documentation/x86/boot.rst).
#pragma once

#include <cstddef>
#include <cstdint>

namespace spore::isa::boot_params {

inline constexpr std::size_t kSize = 4096;
inline constexpr std::size_t kAcpiRsdpAddress = 0x070;  // u64
inline constexpr std::size_t kE820Entries = 0x1e8;      // u8
inline constexpr std::size_t kBootFlag = 0x1fe;         // u16, 0xaa55
inline constexpr std::size_t kHeaderMagic = 0x202;      // u32, "HdrS"
inline constexpr std::size_t kVersion = 0x206;          // u16
inline constexpr std::size_t kTypeOfLoader = 0x210;     // u8, 0xff: none assigned
inline constexpr std::size_t kLoadFlags = 0x211;        // u8
inline constexpr std::size_t kRamdiskImage = 0x218;     // u32
inline constexpr std::size_t kRamdiskSize = 0x21c;      // u32
inline constexpr std::size_t kCommandLine = 0x228;      // u32
inline constexpr std::size_t kKernelAlignment = 0x230;  // u32
inline constexpr std::size_t kCommandLineSize = 0x238;  // u32
inline constexpr std::size_t kE820Table = 0x2d0;        // 20 bytes each

inline constexpr std::uint32_t kE820Ram = 1;
inline constexpr std::uint32_t kE820Reserved = 2;

}  // namespace spore::isa::boot_params
