// GuestMemory: the only door to guest RAM. Every address and length that reaches it may have been
// chosen by the guest: an access outside RAM answers "no" and touches nothing.
//
// Guest RAM is shared with running vCPUs: what is read twice may differ. Copy once, then check.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "memory/written_pages.h"

namespace spore::memory {

using GuestAddress = std::uint64_t;

// One contiguous piece of RAM. `bytes` is borrowed from a Ram (memory/ram.h), or from a test.
struct MemoryRegion {
  GuestAddress base = 0;
  std::span<std::byte> bytes;
};

class GuestMemory {
 public:
  // Regions must be sorted and must not overlap. What goes through writable() and write() is noted
  // in `written`, if there is one: pages are counted from the first region's first, through all
  // regions. A hypervisor does not see these writes.
  explicit GuestMemory(std::vector<MemoryRegion> regions, WrittenPages* written = nullptr);

  // The host view of [address, address + size), or nullopt when any of it is outside one region.
  // An empty range inside RAM gives an empty span.
  [[nodiscard]] std::optional<std::span<std::byte>> writable(GuestAddress address,
                                                             std::size_t size) const noexcept;
  // The same, to be read only: atomic loads want a pointer to what is not const.
  [[nodiscard]] std::optional<std::span<std::byte>> view(GuestAddress address,
                                                         std::size_t size) const noexcept;
  [[nodiscard]] std::optional<std::span<const std::byte>> readable(GuestAddress address,
                                                                   std::size_t size) const noexcept;

  // Copies all of `into` / `from`, or nothing and false.
  [[nodiscard]] bool read(GuestAddress address, std::span<std::byte> into) const noexcept;
  [[nodiscard]] bool write(GuestAddress address, std::span<const std::byte> from) const noexcept;

  // Little-endian values as the guest lays them out (host and guest are both little-endian).
  template <typename T>
  [[nodiscard]] std::optional<T> load(GuestAddress address) const noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    if (!read(address, std::as_writable_bytes(std::span(&value, 1)))) {
      return std::nullopt;
    }
    return value;
  }
  template <typename T>
  [[nodiscard]] bool store(GuestAddress address, const T& value) const noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    return write(address, std::as_bytes(std::span(&value, 1)));
  }

  [[nodiscard]] const std::vector<MemoryRegion>& regions() const noexcept { return regions_; }

 private:
  // A range inside one region.
  struct Found {
    std::span<std::byte> bytes;
    std::size_t first_page = 0;  // of the range
  };
  [[nodiscard]] std::optional<Found> find(GuestAddress address, std::size_t size) const noexcept;

  std::vector<MemoryRegion> regions_;
  WrittenPages* written_;
};

}  // namespace spore::memory
