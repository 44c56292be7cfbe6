// The generation page: 4 KiB of reserved guest RAM that the VMM fills before a machine runs its
// first instruction after a boot, a fork or a reset, and that the guest's agent reads. Beside it
// lies the generation device's MMIO window with the doorbell. Host and guest include this file;
// both are little-endian; the layout is fixed by version.
//
// Host side: trusted, written by us. Guest side: written by the VMM before the guest runs; lengths
// are checked all the same.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace spore::wire {

inline constexpr std::uint32_t kGenerationMagic = 0x4e475053;  // "SPGN"
inline constexpr std::uint32_t kGenerationVersion = 1;
inline constexpr std::size_t kGenerationPageSize = 4096;

struct GenerationPage {
  std::uint32_t magic = kGenerationMagic;
  std::uint32_t version = kGenerationVersion;
  std::uint64_t number = 0;                  // 0 after a boot, parent's + 1 after a fork
  std::array<std::uint8_t, 16> id{};         // also the ACPI VMGENID's GUID
  std::array<std::uint8_t, 16> parent_id{};  // zero after a boot
  std::array<std::uint8_t, 64> entropy{};    // fresh for every generation
  std::uint64_t wall_clock_seconds = 0;      // CLOCK_REALTIME of the host when it was written
  std::uint32_t wall_clock_nanoseconds = 0;
  std::uint32_t child_index = 0;
  std::uint32_t child_count = 1;
  std::uint32_t shard_index = 0;
  std::uint32_t shard_count = 1;
  std::array<std::uint8_t, 6> mac{};
  std::uint16_t user_length = 0;    // bytes used in `user`
  std::array<char, 64> name{};      // NUL-terminated
  std::array<char, 64> hostname{};  // NUL-terminated
  std::array<char, 3816> user{};    // a JSON object of strings
};
static_assert(sizeof(GenerationPage) == kGenerationPageSize);
static_assert(offsetof(GenerationPage, id) % 8 == 0, "VMGENID must be 8-byte aligned");

// The doorbell window: 32-bit registers, accessed as such. Same offsets on every architecture.
inline constexpr std::uint64_t kDoorbellWindowSize = 4096;
inline constexpr std::uint64_t kDoorbellRegMagic = 0x00;    // read: kGenerationMagic
inline constexpr std::uint64_t kDoorbellRegVersion = 0x04;  // read: kGenerationVersion
inline constexpr std::uint64_t kDoorbellRegRing = 0x08;     // write: a DoorbellCommand
inline constexpr std::uint64_t kDoorbellRegStatus =
    0x0c;  // read: low half of the generation number

enum class DoorbellCommand : std::uint32_t {
  kCapture = 1,   // the workload is frozen: capture now; the write returns in every child too
  kPowerOff = 2,  // end the machine in order
  kReady = 3,     // generation work is done, user processes may run (acknowledges `number`)
};

// Where the x86_64 board puts both (guest-physical). The agent gets them on the kernel command line
// as spore.generation=<hex page address>,<hex doorbell address>, so that no address is built into
// it.

}  // namespace spore::wire
