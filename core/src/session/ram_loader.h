// RAM of a spore on disk: from the flat backing where there is proof of it, else lazily from the
// chunks. Hostile bytes: every file.
#pragma once

#include <memory>
#include <string_view>

#include "memory/ram_image.h"
#include "snapshot/directory.h"
#include "snapshot/ram_section.h"

namespace spore::session {

struct LoadedRam {
  std::shared_ptr<const memory::RamImage> image;
  std::string_view backing;  // LoadedSpore::backing
};

// The ram section `sha256` of `spore`, or of a parent of it; `below` is the image of the section
// that it is a layer on. `key` proves flat backings; empty: they are not used.
Result<LoadedRam> load_own_ram(const std::shared_ptr<const snapshot::SporeDirectory>& spore,
                               std::string_view sha256, const snapshot::RamSection& section,
                               std::shared_ptr<const memory::RamImage> below, std::string_view key);

// The pages that the first machine from it touched first: kept with the spore that has this RAM,
// for those that come after. A hint: that it cannot be kept, or makes no sense, is no failure.
void keep_working_set(const snapshot::SporeDirectory& owner, const memory::RamImage& image);
void recall_working_set(const snapshot::SporeDirectory& owner, const memory::RamImage& image);

}  // namespace spore::session
