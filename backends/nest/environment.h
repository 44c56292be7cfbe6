// What the nest takes from its surroundings: environment variables, this host's memory, and where
// Spore's own programs lie.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "spore/result.h"

namespace spore::nest {

// "4G", "512M", or a number of MiB; at least 1 GiB. `name` is for the Error.
Result<std::uint64_t> parse_memory(std::string_view text, std::string_view name);

// $SPORE_NEST_MEMORY, else half of this host's memory, bounded to 2..16 GiB.
Result<std::uint64_t> nest_memory();

// $SPORE_NEST_IDLE in seconds, else 600.
Result<std::uint64_t> nest_idle_seconds();

// The `spore` program that belongs to this process: $SPORE_BIN, else this very program if it is
// called spore, else `spore` beside it.
Result<std::string> spore_program();

// A helper program of Spore's: ../libexec/spore/<name>, seen from spore_program().
Result<std::string> helper_program(std::string_view name);

}  // namespace spore::nest
