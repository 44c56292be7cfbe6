// The `ram` section: which pages of RAM are stored, in which chunks (FORMAT.md).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "memory/chunk.h"
#include "spore/result.h"

namespace spore::snapshot {

inline constexpr std::uint64_t kChunkBytes = memory::kChunkBytes;
inline constexpr std::size_t kPagesInChunk = memory::kPagesPerChunk;
inline constexpr std::size_t kPageBytes = memory::kPageSize;

// Which pages of one chunk.
class PageSet {
 public:
  void add(std::size_t page) noexcept {
    bits_[page / 8] = static_cast<std::uint8_t>(bits_[page / 8] | 1u << (page % 8));
  }
  [[nodiscard]] bool contains(std::size_t page) const noexcept {
    return (bits_[page / 8] >> (page % 8) & 1) != 0;
  }
  [[nodiscard]] std::size_t count() const noexcept;
  [[nodiscard]] std::string to_text() const;
  static Result<PageSet> from_text(std::string_view text);
  bool operator==(const PageSet&) const = default;

 private:
  std::array<std::uint8_t, kPagesInChunk / 8> bits_{};
};

struct ChunkRef {
  std::uint32_t chunk = 0;  // offset in RAM / kChunkBytes
  PageSet pages;
  std::string sha256;
  bool operator==(const ChunkRef&) const = default;
};
void to_json(nlohmann::json& json, const ChunkRef& chunk);
void from_json(const nlohmann::json& json, ChunkRef& chunk);  // throws as nlohmann's do

struct RamSection {
  std::uint64_t size = 0;  // of RAM
  std::string base;        // digest of the ram section below this layer; empty: none
  std::vector<ChunkRef> chunks;
  [[nodiscard]] std::uint64_t stored_pages() const noexcept;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RamSection, size, base, chunks)

// For RAM of `memory_bytes`; `what` names the section in Errors.
Result<RamSection> parse_ram_section(std::string_view bytes, std::uint64_t memory_bytes,
                                     std::string_view what);

}  // namespace spore::snapshot
