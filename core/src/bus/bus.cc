#include "bus/bus.h"

#include <algorithm>

#include "base/check.h"

namespace spore::bus {

void Bus::add(IoMapping mapping) {
  SPORE_CHECK(mapping.handler != nullptr && mapping.size > 0);
  const auto after = std::upper_bound(
      mappings_.begin(), mappings_.end(), mapping.base,
      [](std::uint64_t base, const IoMapping& other) { return base < other.base; });
  SPORE_CHECK(after == mappings_.end() || mapping.base + mapping.size <= after->base);
  SPORE_CHECK(after == mappings_.begin() ||
              std::prev(after)->base + std::prev(after)->size <= mapping.base);
  mappings_.insert(after, mapping);
}

const IoMapping* Bus::find(std::uint64_t address, std::size_t size) const noexcept {
  const auto after = std::upper_bound(
      mappings_.begin(), mappings_.end(), address,
      [](std::uint64_t wanted, const IoMapping& other) { return wanted < other.base; });
  if (after == mappings_.begin()) {
    return nullptr;
  }
  const IoMapping& mapping = *std::prev(after);
  const std::uint64_t offset = address - mapping.base;
  return offset < mapping.size && size <= mapping.size - offset ? &mapping : nullptr;
}

void Bus::read(std::uint64_t address, std::span<std::byte> data) {
  if (const IoMapping* mapping = find(address, data.size())) {
    mapping->handler->read(address - mapping->base, data);
    return;
  }
  ++unclaimed_;
  std::fill(data.begin(), data.end(), std::byte{0xff});
}

void Bus::write(std::uint64_t address, std::span<const std::byte> data) {
  if (const IoMapping* mapping = find(address, data.size())) {
    mapping->handler->write(address - mapping->base, data);
    return;
  }
  ++unclaimed_;
}

}  // namespace spore::bus
