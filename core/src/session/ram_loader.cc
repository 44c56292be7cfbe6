#include "session/ram_loader.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/files.h"
#include "base/parallel.h"
#include "memory/memory_file.h"
#include "snapshot/chunk.h"
#include "snapshot/document.h"
#include "snapshot/proof.h"
#include "snapshot/ram_layers.h"
#include "snapshot/staging.h"
#include "snapshot/working_set.h"

namespace spore::session {
namespace {

using memory::kPageSize;
using snapshot::ChunkRef;
using snapshot::kPagesInChunk;
using snapshot::RamSection;
using snapshot::SporeDirectory;

// The pages of a chunk, one after the other.
Result<void> read_pages(const SporeDirectory& spore, const ChunkRef& chunk,
                        std::span<std::byte> content) {
  SPORE_ASSIGN(const std::string path, snapshot::find_chunk(spore, chunk));
  return snapshot::read_chunk(path, chunk.sha256, content, spore.describe(chunk));
}

// Chunks for a lazy base.
class SporeChunks final : public memory::ChunkLoader {
 public:
  SporeChunks(std::shared_ptr<const SporeDirectory> spore, std::vector<ChunkRef> chunks)
      : spore_(std::move(spore)), chunks_(std::move(chunks)) {}

  Result<void> load(std::uint32_t chunk, std::span<std::byte> bytes) override {
    const auto found =
        std::lower_bound(chunks_.begin(), chunks_.end(), chunk,
                         [](const ChunkRef& ref, std::uint32_t at) { return ref.chunk < at; });
    SPORE_CHECK(found != chunks_.end() && found->chunk == chunk);
    const std::size_t count = found->pages.count();
    // In place: the pages come packed at the end, and move to where they belong, first page first.
    const auto packed = bytes.last(count * kPageSize);
    SPORE_TRY(read_pages(*spore_, *found, packed));
    const std::byte* from = packed.data();
    for (std::size_t page = 0; page < kPagesInChunk; ++page) {
      std::byte* to = bytes.data() + page * kPageSize;
      if (found->pages.contains(page)) {
        std::memmove(to, from, kPageSize);
        from += kPageSize;
      } else {
        SPORE_CHECK(to + kPageSize <= from || from == bytes.data() + bytes.size());
        std::memset(to, 0, kPageSize);
      }
    }
    return {};
  }

 private:
  const std::shared_ptr<const SporeDirectory> spore_;
  const std::vector<ChunkRef> chunks_;
};

// The flat backing; invalid when there is none, or no proof.
base::UniqueFd open_flat(const SporeDirectory& owner, std::string_view sha256,
                         std::string_view key) {
  const auto proof = base::read_file(fmt::format("{}/{}", owner.path(), snapshot::kFlatProofFile),
                                     snapshot::kMaxProofBytes);
  auto file = base::open_to_read(fmt::format("{}/{}", owner.path(), snapshot::kFlatFile));
  if (key.empty() || !proof || !file || !snapshot::is_proof(*proof, key, file->get(), sha256)) {
    return {};
  }
  return std::move(*file);
}

std::vector<std::uint32_t> pages_of(const RamSection& section) {
  std::vector<std::uint32_t> pages;
  pages.reserve(section.stored_pages());
  for (const ChunkRef& chunk : section.chunks) {
    for (std::size_t page = 0; page < kPagesInChunk; ++page) {
      if (chunk.pages.contains(page)) {
        pages.push_back(static_cast<std::uint32_t>(chunk.chunk * kPagesInChunk + page));
      }
    }
  }
  return pages;
}

std::vector<memory::ChunkPages> chunk_pages_of(const RamSection& section) {
  std::vector<memory::ChunkPages> chunks;
  for (const ChunkRef& chunk : section.chunks) {
    memory::ChunkPages& pages = chunks.emplace_back();
    pages.chunk = chunk.chunk;
    for (std::size_t page = 0; page < kPagesInChunk; ++page) {
      pages.pages.set(page, chunk.pages.contains(page));
    }
  }
  return chunks;
}

// A layer's pages, in memory: a layer is what one machine wrote, and mostly needed at once.
Result<base::UniqueFd> read_layer(const SporeDirectory& spore, const RamSection& section) {
  SPORE_ASSIGN(base::UniqueFd file, memory::create_memory_file(section.stored_pages() * kPageSize));
  std::vector<std::uint64_t> offsets;
  std::uint64_t offset = 0;
  for (const ChunkRef& chunk : section.chunks) {
    offsets.push_back(offset);
    offset += chunk.pages.count() * kPageSize;
  }
  SPORE_TRY(base::parallel_for(section.chunks.size(), [&](std::size_t i) -> Result<void> {
    std::vector<std::byte> content(section.chunks[i].pages.count() * kPageSize);
    SPORE_TRY(read_pages(spore, section.chunks[i], content));
    return base::write_all_at(file.get(), content, offsets[i], "a captured machine's RAM");
  }));
  return file;
}

}  // namespace

Result<LoadedRam> load_own_ram(const std::shared_ptr<const SporeDirectory>& spore,
                               std::string_view sha256, const RamSection& section,
                               std::shared_ptr<const memory::RamImage> below,
                               std::string_view key) {
  const SporeDirectory* owner = spore->owner_of_ram(sha256);
  base::UniqueFd flat = owner != nullptr ? open_flat(*owner, sha256, key) : base::UniqueFd();
  LoadedRam loaded{nullptr, flat.valid() ? "flat" : "memory"};
  if (below) {
    if (!flat.valid()) {
      SPORE_ASSIGN(flat, read_layer(*spore, section));
    }
    SPORE_ASSIGN(loaded.image,
                 memory::RamImage::layer_of(std::move(below), std::move(flat), pages_of(section)));
  } else if (flat.valid()) {
    SPORE_ASSIGN(loaded.image, memory::RamImage::mapped(std::move(flat), section.size));
  } else {
    SPORE_ASSIGN(loaded.image,
                 memory::RamImage::lazy(section.size, chunk_pages_of(section),
                                        std::make_shared<SporeChunks>(spore, section.chunks)));
    loaded.backing = loaded.image->fill()->why_eager() ? "memory" : "lazy";
  }
  if (owner != nullptr) {
    recall_working_set(*owner, *loaded.image);
  }
  return loaded;
}

void keep_working_set(const SporeDirectory& owner, const memory::RamImage& image) {
  const auto set = image.working_set();
  const std::string path = fmt::format("{}/{}", owner.path(), snapshot::kWorkingSetFile);
  if (!set || ::access(path.c_str(), F_OK) == 0) {
    return;
  }
  const std::string staging = snapshot::staging_path(path);
  if (!base::write_new_file(staging, snapshot::to_document(*set)) ||
      std::rename(staging.c_str(), path.c_str()) != 0) {
    std::remove(staging.c_str());
  }
}

void recall_working_set(const SporeDirectory& owner, const memory::RamImage& image) {
  const std::string path = fmt::format("{}/{}", owner.path(), snapshot::kWorkingSetFile);
  if (auto set = snapshot::read_working_set(path, image.size())) {
    image.record(std::move(*set));
  }
}

}  // namespace spore::session
