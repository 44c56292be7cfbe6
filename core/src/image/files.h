// Unpacking compressed files. Hostile bytes: all of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/files.h"
#include "spore/result.h"

namespace spore::image {

using base::open_to_read;
using base::read_file;
using base::read_start;

// Unpacks xz, zstd, gzip, lz4, bzip2, lzma (or copies bytes that are none of them). `what` is for
// the Error. When `expected_size` is not 0, the output ends there and what follows is ignored;
// shorter output is an Error. Never more than `limit` bytes.
Result<std::string> unpack(std::string_view packed, std::uint64_t expected_size,
                           std::uint64_t limit, std::string_view what);

}  // namespace spore::image
