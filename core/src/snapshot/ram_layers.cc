#include "snapshot/ram_layers.h"

#include <fmt/format.h>

#include <utility>

#include "snapshot/chunk.h"
#include "snapshot/document.h"

namespace spore::snapshot {

Result<RamLayers> RamLayers::open(std::shared_ptr<const SporeDirectory> spore) {
  RamLayers ram;
  const SporeDirectory* owner = spore.get();
  std::string sha256 = owner->section_ref(kRamSection).sha256;
  while (!sha256.empty()) {
    const SporeDirectory* below = owner->owner_of_ram(sha256);
    if (below == nullptr) {
      return fail(not_such_a_document(
          fmt::format("section {} of {}", kRamSection, owner->path()),
          fmt::format("it is on top of {}, which none of its parents has: take the spore from "
                      "where it came again",
                      sha256)));
    }
    owner = below;
    SPORE_ASSIGN(RamSection section, owner->ram_section());
    if (section.size != spore->manifest().platform.memory_bytes) {
      return fail(not_such_a_document(
          fmt::format("section {} of {}", kRamSection, owner->path()),
          fmt::format("it is of RAM of another size than that of {}, which is on top of it",
                      spore->path())));
    }
    std::string base = section.base;
    ram.layers_.push_back({owner, std::move(sha256), std::move(section)});
    sha256 = std::move(base);
  }
  for (const Layer& layer : ram.layers_) {
    for (const ChunkRef& chunk : layer.section.chunks) {
      ram.chunks_[chunk.chunk].push_back({layer.owner, &chunk});
    }
  }
  ram.spore_ = std::move(spore);
  return ram;
}

Result<std::string> find_chunk(const SporeDirectory& spore, const ChunkRef& chunk) {
  return spore.find(kChunksFolder, chunk_file_name(chunk.sha256), spore.describe(chunk));
}

Result<std::vector<std::byte>> load_chunk(const SporeDirectory& spore, const ChunkRef& chunk) {
  SPORE_ASSIGN(const std::string path, find_chunk(spore, chunk));
  std::vector<std::byte> content(chunk.pages.count() * kPageBytes);
  SPORE_TRY(read_chunk(path, chunk.sha256, content, spore.describe(chunk)));
  return content;
}

}  // namespace spore::snapshot
