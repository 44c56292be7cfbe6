// Files in memory: what RAM is made of.
#pragma once

#include <cstdint>

#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::memory {

// An empty file in memory, of `size` bytes.
Result<base::UniqueFd> create_memory_file(std::uint64_t size);
// What a file occupies, without its holes: host memory for a file in memory, else disk.
std::uint64_t allocated_bytes(int fd);

}  // namespace spore::memory
