// Chunks of RAM: the units in which RAM is kept on disk, and loaded from there.
#pragma once

#include <cstddef>

#include "memory/page_map.h"

namespace spore::memory {

inline constexpr std::size_t kPagesPerChunk = 512;
inline constexpr std::size_t kChunkBytes = kPagesPerChunk * kPageSize;

}  // namespace spore::memory
