// The tar headers of bundles: POSIX ustar, of regular files only, with everything but name and size
// fixed. So a reader that knows which file comes next compares its header, byte for byte, and
// interprets nothing. Any thread.
// Hostile bytes: the block given to tar_size().
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace spore::snapshot {

inline constexpr std::size_t kTarBlockBytes = 512;
inline constexpr std::size_t kTarEndBytes = 2 * kTarBlockBytes;  // of zeros

// Whether a header can say this name.
bool fits_tar(std::string_view name);
// `name` must fit.
std::string tar_header(std::string_view name, std::uint64_t bytes);
// The size, if `block` is what tar_header() gives for the file `name`.
std::optional<std::uint64_t> tar_size(std::string_view block, std::string_view name);
// How many zeros follow a file's content.
constexpr std::size_t tar_padding(std::uint64_t bytes) {
  return static_cast<std::size_t>((kTarBlockBytes - bytes % kTarBlockBytes) % kTarBlockBytes);
}

}  // namespace spore::snapshot
