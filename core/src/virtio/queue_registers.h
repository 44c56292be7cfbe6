// Layout of a split virtqueue in guest memory: Virtio 1.2, section 2.7.
#pragma once

#include <cstddef>
#include <cstdint>

namespace spore::virtio {

// 2.7.5, the descriptor table.
struct Descriptor {
  std::uint64_t address = 0;
  std::uint32_t length = 0;
  std::uint16_t flags = 0;
  std::uint16_t next = 0;
};
static_assert(sizeof(Descriptor) == 16);

inline constexpr std::uint16_t kDescriptorNext = 1;      // VIRTQ_DESC_F_NEXT
inline constexpr std::uint16_t kDescriptorWrite = 2;     // VIRTQ_DESC_F_WRITE
inline constexpr std::uint16_t kDescriptorIndirect = 4;  // VIRTQ_DESC_F_INDIRECT

// 2.7.6, the available ring: flags, idx, ring[size], used_event.
inline constexpr std::uint16_t kAvailNoInterrupt = 1;  // VIRTQ_AVAIL_F_NO_INTERRUPT
inline constexpr std::size_t kAvailFlags = 0;
inline constexpr std::size_t kAvailIndex = 2;
inline constexpr std::size_t kAvailRing = 4;

// 2.7.8, the used ring: flags, idx, ring[size], avail_event.
struct UsedElement {
  std::uint32_t id = 0;
  std::uint32_t length = 0;
};
static_assert(sizeof(UsedElement) == 8);
inline constexpr std::size_t kUsedIndex = 2;
inline constexpr std::size_t kUsedRing = 4;

// 2.7: alignment and size of the three parts.
inline constexpr std::uint64_t kDescriptorAlignment = 16;
inline constexpr std::uint64_t kAvailAlignment = 2;
inline constexpr std::uint64_t kUsedAlignment = 4;
constexpr std::size_t descriptor_table_size(std::size_t size) {
  return sizeof(Descriptor) * size;
}
constexpr std::size_t avail_ring_size(std::size_t size) {
  return kAvailRing + 2 * size + 2;
}
constexpr std::size_t used_ring_size(std::size_t size) {
  return kUsedRing + sizeof(UsedElement) * size + 2;
}

}  // namespace spore::virtio
