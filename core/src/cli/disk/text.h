// How the verbs about spores on disk print what they found.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace spore::cli {

// "16.3 MiB", "812 B".
std::string size_text(std::uint64_t bytes);
// "2026-11-21 19:35:03 UTC".
std::string time_text(std::uint64_t seconds);
// "43 chunks", "1 chunk".
std::string count_text(std::uint64_t count, std::string_view thing);
// The start of an id, enough for people.
std::string short_id(std::string_view id);
// At most `limit` characters of it.
std::string shortened(std::string_view text, std::size_t limit);

}  // namespace spore::cli
