// Reading and writing host files whole. Hostile bytes: all that is read; nothing here reads beyond
// what was asked for.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::base {

Result<UniqueFd> open_to_read(const std::string& path);

// The whole file; an Error if it is longer than `limit`.
Result<std::string> read_file(const std::string& path, std::uint64_t limit);

// Fills `bytes` from `offset` on; how many there were, fewer where the file ends. `name` is for the
// Error.
Result<std::size_t> read_at(int fd, std::span<std::byte> bytes, std::uint64_t offset,
                            std::string_view name);

// The first bytes of a file: `limit`, or all it has.
Result<std::string> read_start(int fd, std::size_t limit);

// Writes all bytes; `name` is for the Error.
Result<void> write_all(int fd, std::string_view bytes, std::string_view name);

// The same from `offset` on, of a file that has a position for each byte.
Result<void> write_all_at(int fd, std::span<const std::byte> bytes, std::uint64_t offset,
                          std::string_view name);

enum class Sync { kNow, kLater };
// A new file with these bytes, which are on disk when it returns, unless that is to be waited for
// later, for many files at once. kInvalidArgument if it is there.
Result<void> write_new_file(const std::string& path, std::string_view bytes,
                            Sync sync = Sync::kNow);

// What a file takes, without its holes.
inline std::uint64_t bytes_on_disk(const struct stat& status) noexcept {
  return static_cast<std::uint64_t>(status.st_blocks) * 512;  // on every file system
}

// Waits until the names in a directory, or the bytes of a file, are on disk.
Result<void> sync_path(const std::string& path);

}  // namespace spore::base
