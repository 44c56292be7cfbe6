// Chunk files: pages of RAM, compressed, named by the SHA-256 of what they hold. Any thread.
// Hostile bytes: a chunk that is read. It never unpacks to more than was asked for, and nothing of
// it is believed before its digest is right.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "snapshot/ram_section.h"
#include "spore/result.h"

namespace spore::snapshot {

// More than any chunk takes: Zstandard's own bound on what it cannot compress, rounded up.
inline constexpr std::size_t kMaxChunkFileBytes = kChunkBytes + kChunkBytes / 128;

// Of a page, 4 KiB: chunks have none that is, but those of layers.
bool is_zero_page(const std::byte* page) noexcept;

std::string chunk_file_name(std::string_view sha256);

struct WrittenChunk {
  std::string sha256;
  std::size_t file_bytes = 0;  // 0: the file was there
};
// Writes the chunk into `directory` if it is not there; not synced yet.
Result<WrittenChunk> write_chunk(const std::string& directory, std::span<const std::byte> content);

// Fills `content`, which is exactly as long as the chunk's content has to be. `what` names it in
// Errors ("chunk 17 of …").
Result<void> read_chunk(const std::string& path, std::string_view sha256,
                        std::span<std::byte> content, std::string_view what);

}  // namespace spore::snapshot
