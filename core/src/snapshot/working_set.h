// The working set that is kept beside a spore (FORMAT.md). A hint: whoever cannot read it goes on
// without. Hostile bytes: all of it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "memory/ram_image.h"
#include "spore/result.h"

namespace spore::memory {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(WorkingSet, read, written)

}  // namespace spore::memory

namespace spore::snapshot {

// Of RAM of `memory_bytes`. kCorrupt: it makes no sense.
Result<memory::WorkingSet> read_working_set(const std::string& path, std::uint64_t memory_bytes);

}  // namespace spore::snapshot
