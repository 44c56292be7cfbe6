// GuestRam: a machine's RAM made of plain bytes, with guard bytes around it, and small doubles for
// what a device is given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "bus/interrupt.h"
#include "memory/guest_memory.h"

namespace spore::testing {

class GuestRam {
 public:
  static constexpr std::uint64_t kBase = 0x10000;
  static constexpr std::size_t kGuard = 4096;

  explicit GuestRam(std::size_t size = 1 << 20)
      : storage_(size + 3 * kGuard, kGuardByte), size_(size), memory_({{kBase, ram()}}) {
    std::memset(ram().data(), 0, size_);
  }

  [[nodiscard]] const memory::GuestMemory& memory() const noexcept { return memory_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint64_t end() const noexcept { return kBase + size_; }
  [[nodiscard]] std::span<std::byte> ram() {
    const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
    const std::size_t offset = kGuard + (kGuard - address % kGuard) % kGuard;
    return std::span(storage_).subspan(offset, size_);
  }
  // Whether nothing was written just before or after the RAM.
  [[nodiscard]] bool guards_intact() {
    const auto inside = static_cast<std::size_t>(ram().data() - storage_.data());
    for (std::size_t i = 0; i < storage_.size(); ++i) {
      if ((i < inside || i >= inside + size_) && storage_[i] != kGuardByte) {
        return false;
      }
    }
    return true;
  }

 private:
  static constexpr std::byte kGuardByte{0xa5};
  std::vector<std::byte> storage_;
  std::size_t size_;
  memory::GuestMemory memory_;
};

// Counts edges into a number that outlives it.
class CountingLine final : public bus::InterruptLine {
 public:
  explicit CountingLine(unsigned& edges) noexcept : edges_(edges) {}
  void trigger() override { ++edges_; }

 private:
  unsigned& edges_;
};

}  // namespace spore::testing
