#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "snapshot/document.h"
#include "snapshot/ram_section.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spore::snapshot;
  constexpr std::uint64_t kMemory = 64 * 1024 * 1024;
  constexpr std::uint64_t kPageBytes = kChunkBytes / kPagesInChunk;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto section = parse_ram_section(bytes, kMemory, "it");
  if (!section) {
    return 0;
  }
  if (to_document(*section) != bytes || section->stored_pages() > kMemory / kPageBytes) {
    std::abort();
  }
  for (const ChunkRef& chunk : section->chunks) {
    for (std::size_t page = 0; page < kPagesInChunk; ++page) {
      if (chunk.pages.contains(page) &&
          chunk.chunk * kChunkBytes + page * kPageBytes + kPageBytes > kMemory) {
        std::abort();
      }
    }
  }
  return 0;
}
