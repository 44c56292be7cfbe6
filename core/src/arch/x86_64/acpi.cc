#include "arch/x86_64/acpi.h"

#include <cstddef>
#include <cstring>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "dsdt.hex"
#include "isa/board.h"

namespace spore::isa {
namespace {

// Fields are written at their byte offsets in the specification, little-endian.
class Table {
 public:
  explicit Table(std::size_t size) : bytes_(size) {}

  template <typename T>
  void put(std::size_t offset, T value) {
    SPORE_CHECK(offset + sizeof(value) <= bytes_.size());
    std::memcpy(bytes_.data() + offset, &value, sizeof(value));
  }
  void put_text(std::size_t offset, std::string_view text) {
    SPORE_CHECK(offset + text.size() <= bytes_.size());
    std::memcpy(bytes_.data() + offset, text.data(), text.size());
  }
  void append(std::span<const std::uint8_t> more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
  }
  // Makes all bytes of the first `size` sum to zero by the byte at `offset`.
  void seal(std::size_t offset, std::size_t size) {
    bytes_[offset] = 0;
    const auto sum = std::accumulate(bytes_.begin(), bytes_.begin() + static_cast<long>(size), 0u);
    bytes_[offset] = static_cast<std::uint8_t>(0u - sum);
  }
  [[nodiscard]] std::span<const std::uint8_t> bytes() const { return bytes_; }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }

 private:
  std::vector<std::uint8_t> bytes_;
};

constexpr std::size_t kHeaderSize = 36;  // ACPI 5.2.6
constexpr std::size_t kChecksumOffset = 9;

Table with_header(std::string_view signature, std::uint8_t revision, std::size_t size) {
  Table table(size);
  table.put_text(0, signature);
  table.put(8, revision);
  table.put_text(10, "SPORE ");
  table.put_text(16, "BOARD1  ");
  table.put<std::uint32_t>(24, 1);
  table.put_text(28, "SPOR");
  table.put<std::uint32_t>(32, 1);
  return table;
}

void finish(Table& table) {
  table.put(4, static_cast<std::uint32_t>(table.size()));
  table.seal(kChecksumOffset, table.size());
}

// ACPI 5.2.9
Table make_fadt(memory::GuestAddress dsdt) {
  constexpr std::size_t kFadtSize = 276;
  constexpr std::uint32_t kFlagHardwareReduced = 1u << 20;
  constexpr std::uint32_t kFlagPowerButton = 1u << 4;  // no fixed power button
  constexpr std::uint32_t kFlagSleepButton = 1u << 5;
  constexpr std::uint16_t kBootNoVga = 1 << 2;
  constexpr std::uint16_t kBootNoCmosRtc = 1 << 5;
  Table fadt = with_header("FACP", 6, kFadtSize);
  fadt.put(109, static_cast<std::uint16_t>(kBootNoVga | kBootNoCmosRtc));
  fadt.put(112, kFlagHardwareReduced | kFlagPowerButton | kFlagSleepButton);
  fadt.put<std::uint8_t>(131, 4);  // minor version
  fadt.put<std::uint64_t>(140, dsdt);
  fadt.put_text(268, "SPORE   ");
  finish(fadt);
  return fadt;
}

// ACPI 5.2.12
Table make_madt(std::uint32_t cpus) {
  Table madt = with_header("APIC", 5, kHeaderSize + 8);
  madt.put(36, static_cast<std::uint32_t>(kLocalApic));
  for (std::uint32_t i = 0; i < cpus; ++i) {
    Table entry(8);
    entry.put<std::uint8_t>(0, 0);  // processor local APIC
    entry.put<std::uint8_t>(1, 8);
    entry.put(2, static_cast<std::uint8_t>(i));
    entry.put(3, static_cast<std::uint8_t>(i));
    entry.put<std::uint32_t>(4, 1);  // enabled
    madt.append(entry.bytes());
  }
  Table ioapic(12);
  ioapic.put<std::uint8_t>(0, 1);
  ioapic.put<std::uint8_t>(1, 12);
  ioapic.put(4, static_cast<std::uint32_t>(kIoapic));
  madt.append(ioapic.bytes());
  finish(madt);
  return madt;
}

}  // namespace

memory::GuestAddress write_acpi_tables(const memory::GuestMemory& memory, std::uint32_t cpus) {
  memory::GuestAddress next = kAcpiTables;
  const auto place = [&](std::span<const std::uint8_t> bytes) {
    const memory::GuestAddress at = next;
    SPORE_CHECK(at + bytes.size() <= kAcpiTables + kAcpiTablesSize);
    SPORE_CHECK(memory.write(at, std::as_bytes(bytes)));
    next += (bytes.size() + 15) & ~std::size_t{15};
    return at;
  };

  constexpr std::size_t kRsdpSize = 36;  // ACPI 5.2.5.3
  next += 64;
  const auto dsdt = place(std::span(dsdt_aml_code, sizeof(dsdt_aml_code)));
  const auto fadt = place(make_fadt(dsdt).bytes());
  const auto madt = place(make_madt(cpus).bytes());
  Table xsdt = with_header("XSDT", 1, kHeaderSize + 2 * sizeof(std::uint64_t));
  xsdt.put(36, fadt);
  xsdt.put(44, madt);
  finish(xsdt);
  const auto xsdt_address = place(xsdt.bytes());

  Table rsdp(kRsdpSize);
  rsdp.put_text(0, "RSD PTR ");
  rsdp.put_text(9, "SPORE ");
  rsdp.put<std::uint8_t>(15, 2);
  rsdp.put<std::uint32_t>(20, kRsdpSize);
  rsdp.put(24, xsdt_address);
  rsdp.seal(8, 20);
  rsdp.seal(32, kRsdpSize);
  SPORE_CHECK(memory.write(kAcpiTables, std::as_bytes(rsdp.bytes())));
  return kAcpiTables;
}

}  // namespace spore::isa
