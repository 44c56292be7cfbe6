#include "snapshot/ram_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <stdexcept>

#include "base/hex.h"
#include "snapshot/document.h"

namespace spore::snapshot {

std::size_t PageSet::count() const noexcept {
  return std::accumulate(
      bits_.begin(), bits_.end(), std::size_t{0},
      [](std::size_t sum, std::uint8_t byte) { return sum + std::size_t(std::popcount(byte)); });
}

std::string PageSet::to_text() const {
  return base::to_hex({reinterpret_cast<const char*>(bits_.data()), bits_.size()});
}

Result<PageSet> PageSet::from_text(std::string_view text) {
  SPORE_ASSIGN(const std::string bytes, base::from_hex(text));
  PageSet set;
  if (bytes.size() != set.bits_.size()) {
    return fail(ErrorCode::kCorrupt, fmt::format("a chunk's pages are {} bytes, not {}",
                                                 bytes.size(), set.bits_.size()));
  }
  std::transform(bytes.begin(), bytes.end(), set.bits_.begin(),
                 [](char byte) { return static_cast<std::uint8_t>(byte); });
  return set;
}

void to_json(nlohmann::json& json, const ChunkRef& chunk) {
  json = {{"chunk", chunk.chunk}, {"pages", chunk.pages.to_text()}, {"sha256", chunk.sha256}};
}

void from_json(const nlohmann::json& json, ChunkRef& chunk) {
  json.at("chunk").get_to(chunk.chunk);
  auto pages = PageSet::from_text(json.at("pages").get_ref<const std::string&>());
  if (!pages) {
    throw std::invalid_argument(pages.error().message());
  }
  chunk.pages = *pages;
  json.at("sha256").get_to(chunk.sha256);
}

std::uint64_t RamSection::stored_pages() const noexcept {
  return std::accumulate(
      chunks.begin(), chunks.end(), std::uint64_t{0},
      [](std::uint64_t sum, const ChunkRef& chunk) { return sum + chunk.pages.count(); });
}

Result<RamSection> parse_ram_section(std::string_view bytes, std::uint64_t memory_bytes,
                                     std::string_view what) {
  SPORE_ASSIGN(RamSection section, from_document<RamSection>(bytes, what));
  if (section.size != memory_bytes || section.size % kPageBytes != 0) {
    return fail(not_such_a_document(
        what,
        fmt::format("it is of RAM of {} bytes, the machine has {}", section.size, memory_bytes)));
  }
  if (!section.base.empty() && !is_digest(section.base)) {
    return fail(not_such_a_document(what, "its base is named by no SHA-256"));
  }
  std::uint64_t next = 0;
  for (const ChunkRef& chunk : section.chunks) {
    if (chunk.chunk < next) {
      return fail(not_such_a_document(what, "its chunks are not in order"));
    }
    next = std::uint64_t{chunk.chunk} + 1;
    if (!is_digest(chunk.sha256) || chunk.pages.count() == 0) {
      return fail(
          not_such_a_document(what, fmt::format("chunk {} has no name, or no pages", chunk.chunk)));
    }
    for (std::size_t page = 0; page < kPagesInChunk; ++page) {
      const std::uint64_t end = chunk.chunk * kChunkBytes + (page + 1) * kPageBytes;
      if (chunk.pages.contains(page) && end > section.size) {
        return fail(not_such_a_document(
            what, fmt::format("chunk {} has pages behind the end of RAM", chunk.chunk)));
      }
    }
  }
  return section;
}

}  // namespace spore::snapshot
