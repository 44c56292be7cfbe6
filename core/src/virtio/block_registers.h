// The block device: Virtio 1.2, section 5.2.
#pragma once

#include <cstddef>
#include <cstdint>

namespace spore::virtio {

inline constexpr std::uint64_t kSectorSize = 512;  // 5.2.4

// 5.2.3, feature bits.
inline constexpr std::uint64_t kBlockFeatureSizeMax = 1 << 1;
inline constexpr std::uint64_t kBlockFeatureSegMax = 1 << 2;
inline constexpr std::uint64_t kBlockFeatureReadOnly = 1 << 5;
inline constexpr std::uint64_t kBlockFeatureFlush = 1 << 9;

// 5.2.4, configuration layout, as far as the features offered reach.
struct [[gnu::packed]] BlockConfigSpace {
  std::uint64_t capacity = 0;  // in sectors
  std::uint32_t size_max = 0;
  std::uint32_t seg_max = 0;
};
static_assert(sizeof(BlockConfigSpace) == 16);

// 5.2.6, the header of struct virtio_blk_req.
struct BlockRequestHeader {
  std::uint32_t type = 0;
  std::uint32_t reserved = 0;
  std::uint64_t sector = 0;
};
static_assert(sizeof(BlockRequestHeader) == 16);

enum BlockRequestType : std::uint32_t {
  kBlockIn = 0,
  kBlockOut = 1,
  kBlockFlush = 4,
  kBlockGetId = 8,
};
inline constexpr std::size_t kBlockIdSize = 20;

enum BlockStatus : std::uint8_t {
  kBlockOk = 0,
  kBlockIoError = 1,
  kBlockUnsupported = 2,
};

}  // namespace spore::virtio
