// The flat backing of a ram section (FORMAT.md): its pages uncompressed, as a host maps them. Any
// thread. Hostile bytes: a file that is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "snapshot/ram_section.h"
#include "spore/result.h"

namespace spore::snapshot {

// Fills `fd`, a new file; `page` gives the bytes of a page of RAM. `path` is for Errors.
Result<void> write_flat_backing(int fd, const RamSection& section,
                                const std::function<const std::byte*(std::size_t page)>& page,
                                const std::string& path);

// Whether a file is the flat backing of a section, by the digests in that: the chunks themselves
// are not needed. In parts, so that it takes little memory, and cores can share it.
class FlatBackingCheck {
 public:
  static Result<FlatBackingCheck> open(const std::string& path, RamSection section);

  [[nodiscard]] std::size_t parts() const noexcept { return offsets_.size(); }
  // kCorrupt: the bytes of a part are not those that were captured.
  [[nodiscard]] Result<void> check(std::size_t part) const;

 private:
  FlatBackingCheck(std::string path, base::UniqueFd fd, RamSection section);
  [[nodiscard]] const ChunkRef* chunk_of(std::size_t part) const;

  std::string path_;
  base::UniqueFd fd_;
  RamSection section_;
  std::vector<std::uint64_t>
      offsets_;  // of the parts: of RAM's chunks, or of those that are stored
};

}  // namespace spore::snapshot
