// Which pages of RAM of two spores differ: digests are compared first, and only chunks that differ
// are read.
#pragma once

#include <cstdint>
#include <vector>

#include "snapshot/ram_layers.h"
#include "spore/disk.h"
#include "spore/result.h"

namespace spore::snapshot {

struct RamDiff {
  std::uint64_t pages = 0;
  std::vector<RamRange> ranges;
  std::uint64_t chunks_read = 0;
};

Result<RamDiff> diff_ram(const RamLayers& left, const RamLayers& right);

}  // namespace spore::snapshot
