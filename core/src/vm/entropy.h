// The host's entropy.
#pragma once

#include <cstddef>
#include <span>

namespace spore::vm {

// Fills `bytes` from getrandom(2). The host's pool is ready long before anything here runs; a host
// without it cannot be trusted to make identities, so a failure aborts.
void fill_with_entropy(std::span<std::byte> bytes);

}  // namespace spore::vm
