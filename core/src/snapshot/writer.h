// SporeWriter: makes a spore on disk. Everything goes into a staging directory beside the final
// one, which a rename publishes; a writer that is destroyed before leaves nothing.
// Threads: one at a time; it uses all cores itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "snapshot/manifest.h"
#include "snapshot/ram_section.h"
#include "snapshot/staging.h"
#include "spore/result.h"

namespace spore::snapshot {

// RAM to be written. `page` gives a page's bytes, from any thread.
struct RamToWrite {
  std::uint64_t size = 0;
  std::string base;                  // digest of the ram section below; empty: none
  std::vector<std::uint32_t> pages;  // ascending; without a base, pages of zeros are left out
  std::function<const std::byte*(std::size_t page)> page;
};

struct WrittenRam {
  RamSection section;
  SectionRef ref;
  std::uint64_t file_bytes = 0;  // of the chunks that were not there
};

class SporeWriter {
 public:
  // `path` must not exist; its parent directory must.
  static Result<SporeWriter> create(const std::string& path);

  [[nodiscard]] const std::string& final_path() const noexcept { return staging_.final_path(); }
  [[nodiscard]] const std::string& staging() const noexcept { return staging_.path(); }

  Result<WrittenRam> write_ram(const RamToWrite& ram);
  Result<SectionRef> write_section(std::string_view bytes);
  // The flat backing of the section that was written from `ram`, and its proof.
  Result<void> write_flat(const RamToWrite& ram, const WrittenRam& written, std::string_view key);
  // The spore's id. `parent` is the directory of the manifest's parent, if it has one.
  Result<std::string> publish(const Manifest& manifest, const std::string& parent);

 private:
  explicit SporeWriter(Staging staging) : staging_(std::move(staging)) {}
  Result<void> sync_all() const;

  Staging staging_;
};

}  // namespace spore::snapshot
