#include "memory/guest_memory.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "memory/page_map.h"

namespace spore::memory {

GuestMemory::GuestMemory(std::vector<MemoryRegion> regions, WrittenPages* written)
    : regions_(std::move(regions)), written_(written) {
  for (std::size_t i = 1; i < regions_.size(); ++i) {
    SPORE_CHECK(regions_[i - 1].base + regions_[i - 1].bytes.size() <= regions_[i].base);
  }
}

std::optional<GuestMemory::Found> GuestMemory::find(GuestAddress address,
                                                    std::size_t size) const noexcept {
  std::size_t pages_before = 0;
  for (const MemoryRegion& region : regions_) {
    if (address < region.base) {
      return std::nullopt;
    }
    const std::uint64_t offset = address - region.base;
    if (offset < region.bytes.size() && size <= region.bytes.size() - offset) {
      return Found{region.bytes.subspan(offset, size), pages_before + offset / kPageSize};
    }
    pages_before += region.bytes.size() / kPageSize;
  }
  return std::nullopt;
}

std::optional<std::span<std::byte>> GuestMemory::writable(GuestAddress address,
                                                          std::size_t size) const noexcept {
  const auto found = find(address, size);
  if (!found) {
    return std::nullopt;
  }
  if (written_ != nullptr && size > 0) {
    const std::size_t last = found->first_page + (address % kPageSize + size - 1) / kPageSize;
    for (std::size_t page = found->first_page; page <= last; ++page) {
      written_->add(page);
    }
  }
  return found->bytes;
}

std::optional<std::span<std::byte>> GuestMemory::view(GuestAddress address,
                                                      std::size_t size) const noexcept {
  const auto found = find(address, size);
  return found ? std::optional(found->bytes) : std::nullopt;
}

std::optional<std::span<const std::byte>> GuestMemory::readable(GuestAddress address,
                                                                std::size_t size) const noexcept {
  return view(address, size);
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
