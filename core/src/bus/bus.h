// Bus: places IoHandlers at address windows and finds the one an access belongs to. One Bus serves
// one address space (MMIO, or x86 I/O ports). Not thread-safe: used under the device lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bus/io_handler.h"

namespace spore::bus {

struct IoMapping {
  std::uint64_t base = 0;
  std::uint64_t size = 0;
  IoHandler* handler = nullptr;  // outlives the Bus
};

class Bus {
 public:
  // Windows must not overlap (checked: an overlap is a bug of the board).
  void add(IoMapping mapping);

  // An access outside all windows, or across the end of one, reads as ones and writes nowhere, as
  // on a real bus. Such accesses are counted.
  void read(std::uint64_t address, std::span<std::byte> data);
  void write(std::uint64_t address, std::span<const std::byte> data);

  [[nodiscard]] std::uint64_t unclaimed_accesses() const noexcept { return unclaimed_; }

 private:
  [[nodiscard]] const IoMapping* find(std::uint64_t address, std::size_t size) const noexcept;

  std::vector<IoMapping> mappings_;  // sorted by base
  std::uint64_t unclaimed_ = 0;
};

}  // namespace spore::bus
