// RamLayers: RAM of a spore on disk as it is composed, from its own `ram` section and those that
// it is on top of. Immutable; any thread.
// Hostile bytes: the sections, and the chunks that are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "snapshot/directory.h"
#include "snapshot/ram_section.h"
#include "spore/result.h"

namespace spore::snapshot {

class RamLayers {
 public:
  struct Layer {
    const SporeDirectory* owner = nullptr;  // the spore whose own section it is
    std::string sha256;                     // of the section
    RamSection section;
  };
  // What one layer stores of one chunk of RAM.
  struct Part {
    const SporeDirectory* owner = nullptr;
    const ChunkRef* chunk = nullptr;
  };

  static Result<RamLayers> open(std::shared_ptr<const SporeDirectory> spore);

  [[nodiscard]] const std::vector<Layer>& layers() const noexcept { return layers_; }  // top first
  [[nodiscard]] const std::map<std::uint32_t, std::vector<Part>>& chunks() const noexcept {
    return chunks_;  // by ChunkRef::chunk; of each the parts, top first
  }

 private:
  RamLayers() = default;

  std::shared_ptr<const SporeDirectory> spore_;
  std::vector<Layer> layers_;
  std::map<std::uint32_t, std::vector<Part>> chunks_;
};

// The file of a chunk; its content, checked.
Result<std::string> find_chunk(const SporeDirectory& spore, const ChunkRef& chunk);
Result<std::vector<std::byte>> load_chunk(const SporeDirectory& spore, const ChunkRef& chunk);

}  // namespace spore::snapshot
