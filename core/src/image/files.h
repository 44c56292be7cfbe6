// Reading host files, and unpacking compressed ones.
// Hostile bytes: all of them; nothing here reads beyond what was asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::image {

Result<base::UniqueFd> open_to_read(const std::string& path);

// The whole file; an Error if it is longer than `limit`.
Result<std::string> read_file(const std::string& path, std::uint64_t limit);

// The first bytes of a file: `limit`, or all it has.
Result<std::string> read_start(int fd, std::size_t limit);

// Unpacks xz, zstd, gzip, lz4, bzip2, lzma (or copies bytes that are none of them). `what` is for
// the Error. When `expected_size` is not 0, the output ends there and what follows is ignored;
// shorter output is an Error. Never more than `limit` bytes.
Result<std::string> unpack(std::string_view packed, std::uint64_t expected_size,
                           std::uint64_t limit, std::string_view what);

}  // namespace spore::image
