// SporeWriter: makes a spore on disk. Everything goes into a staging directory beside the final
// one, which a rename publishes; a writer that is destroyed before leaves nothing.
// Threads: one at a time; it uses all cores itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "snapshot/manifest.h"
#include "snapshot/ram_section.h"
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
  SporeWriter(SporeWriter&& other) noexcept;
  SporeWriter& operator=(SporeWriter&&) = delete;
  SporeWriter(const SporeWriter&) = delete;
  SporeWriter& operator=(const SporeWriter&) = delete;
  ~SporeWriter();

  [[nodiscard]] const std::string& final_path() const noexcept { return path_; }
  [[nodiscard]] const std::string& staging() const noexcept { return staging_; }

  Result<WrittenRam> write_ram(const RamToWrite& ram);
  Result<SectionRef> write_section(std::string_view bytes);
  // The flat backing of the section that was written from `ram`, and its proof.
  Result<void> write_flat(const RamToWrite& ram, const WrittenRam& written, std::string_view key);
  // The spore's id. `parent` is the directory of the manifest's parent, if it has one.
  Result<std::string> publish(const Manifest& manifest, const std::string& parent);

 private:
  SporeWriter(std::string path, std::string staging)
      : path_(std::move(path)), staging_(std::move(staging)) {}
  Result<void> sync_all() const;

  std::string path_;
  std::string staging_;  // empty: published, or moved from
};

// "<directory>/.<name>.<random>.tmp": where something is made before it is renamed to `path`.
std::string staging_path(const std::string& path);
// Publishes: kInvalidArgument if `path` exists.
Result<void> rename_new(const std::string& staging, const std::string& path);

}  // namespace spore::snapshot
