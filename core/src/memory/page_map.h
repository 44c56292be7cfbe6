// Which pages of a private mapping belong to this process alone, from /proc/self/pagemap
// (Documentation/admin-guide/mm/pagemap.rst).
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "spore/result.h"

namespace spore::memory {

inline constexpr std::size_t kPageSize = 4096;

// Calls `found(offset, size)` for each run of pages of `range` (page-aligned) that this process has
// touched: that have an entry in its page tables.
Result<void> for_each_present_run(std::span<const std::byte> range,
                                  const std::function<void(std::size_t, std::size_t)>& found);

// The same for those that are not the mapped file's: that were written to, if the mapping is
// private. Before Linux 6.7, also for those that are zero and watched (memory/userfault.h).
Result<void> for_each_private_run(std::span<const std::byte> range,
                                  const std::function<void(std::size_t, std::size_t)>& found);

}  // namespace spore::memory
