#include "memory/guest_memory.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace spore::memory {

GuestMemory::GuestMemory(std::vector<MemoryRegion> regions) : regions_(std::move(regions)) {
  for (std::size_t i = 1; i < regions_.size(); ++i) {
    SPORE_CHECK(regions_[i - 1].base + regions_[i - 1].bytes.size() <= regions_[i].base);
  }
}

std::optional<std::span<std::byte>> GuestMemory::writable(GuestAddress address,
                                                          std::size_t size) const noexcept {
  for (const MemoryRegion& region : regions_) {
    if (address < region.base) {
      return std::nullopt;
    }
    const std::uint64_t offset = address - region.base;
    if (offset < region.bytes.size() && size <= region.bytes.size() - offset) {
      return region.bytes.subspan(offset, size);
    }
  }
  return std::nullopt;
}

std::optional<std::span<const std::byte>> GuestMemory::readable(GuestAddress address,
                                                                std::size_t size) const noexcept {
  return writable(address, size);
}

bool GuestMemory::read(GuestAddress address, std::span<std::byte> into) const noexcept {
  const auto source = readable(address, into.size());
  if (!source) {
    return false;
  }
  std::copy(source->begin(), source->end(), into.begin());
  return true;
}

bool GuestMemory::write(GuestAddress address, std::span<const std::byte> from) const noexcept {
  const auto target = writable(address, from.size());
  if (!target) {
    return false;
  }
  std::copy(from.begin(), from.end(), target->begin());
  return true;
}

}  // namespace spore::memory
