#include "arch/x86_64/boot_cpu.h"

#include <array>

#include "base/check.h"

namespace spore::isa {
namespace {

constexpr std::uint64_t kPageSize = 4096;
// Page table entry bits (SDM 4.5).
constexpr std::uint64_t kPresent = 1 << 0;
constexpr std::uint64_t kWritable = 1 << 1;
constexpr std::uint64_t kLargePage = 1 << 7;

constexpr std::uint64_t kCr0ProtectedMode = 1u << 0;
constexpr std::uint64_t kCr0ExtensionType = 1u << 4;
constexpr std::uint64_t kCr0Paging = 1u << 31;
constexpr std::uint64_t kCr4PhysicalAddressExtension = 1u << 5;
constexpr std::uint64_t kEferLongModeEnable = 1u << 8;
constexpr std::uint64_t kEferLongModeActive = 1u << 10;

constexpr std::uint8_t kTypeCode = 0xb;  // execute, read, accessed
constexpr std::uint8_t kTypeData = 0x3;  // read, write, accessed
constexpr std::uint8_t kTypeBusyTss = 0xb;

Segment segment(std::uint16_t selector, std::uint8_t type, bool code) {
  Segment s;
  s.limit = 0xffffffff;
  s.selector = selector;
  s.type = type;
  s.present = true;
  s.s = true;
  s.g = true;
  s.l = code;
  s.db = !code;
  return s;
}

// A descriptor with base 0 (SDM 3.4.5): flags are G, D/B, L, AVL.
constexpr std::uint64_t descriptor(std::uint8_t flags, std::uint8_t access) {
  return 0x000f00000000ffffULL | (std::uint64_t{flags} << 52) | (std::uint64_t{access} << 40);
}

void write_page_tables(const memory::GuestMemory& memory) {
  const auto entry = [&memory](memory::GuestAddress table, std::uint64_t index,
                               std::uint64_t value) {
    SPORE_CHECK(memory.store(table + index * sizeof(value), value));
  };
  constexpr memory::GuestAddress kPml4 = kBootPageTables;
  constexpr memory::GuestAddress kPdpt = kPml4 + kPageSize;
  constexpr memory::GuestAddress kDirectories = kPdpt + kPageSize;
  entry(kPml4, 0, kPdpt | kPresent | kWritable);
  for (std::uint64_t gib = 0; gib < 4; ++gib) {
    const memory::GuestAddress directory = kDirectories + gib * kPageSize;
    entry(kPdpt, gib, directory | kPresent | kWritable);
    for (std::uint64_t i = 0; i < 512; ++i) {
      entry(directory, i, (gib << 30) | (i << 21) | kPresent | kWritable | kLargePage);
    }
  }
}

}  // namespace

void enter_long_mode(const memory::GuestMemory& memory, CpuState& state) {
  write_page_tables(memory);
  const std::array<std::uint64_t, 4> gdt = {0, 0, descriptor(0xa, 0x9b), descriptor(0xc, 0x93)};
  SPORE_CHECK(memory.store(kBootGdt, gdt));

  state.gdt = {kBootGdt, sizeof(gdt) - 1};
  state.idt = {0, 0};
  state.cs = segment(kBootCodeSelector, kTypeCode, true);
  state.ds = state.es = state.fs = state.gs = state.ss =
      segment(kBootDataSelector, kTypeData, false);
  state.tr = segment(0, kTypeBusyTss, false);
  state.tr.s = false;
  state.tr.db = false;
  state.tr.g = false;
  state.tr.limit = 0xffff;
  state.cr0 = kCr0ProtectedMode | kCr0ExtensionType | kCr0Paging;
  state.cr3 = kBootPageTables;
  state.cr4 = kCr4PhysicalAddressExtension;
  state.efer = kEferLongModeEnable | kEferLongModeActive;
  state.rflags = 0x2;
}

}  // namespace spore::isa
