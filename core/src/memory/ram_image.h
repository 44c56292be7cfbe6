// RamImage: the RAM of a captured machine, immutable. Either a base, one file that holds all of it:
// in memory, on disk, or in memory and filled as it is touched (lazy); or a layer, which has the
// pages that differ from its parent's, and shares the rest with its parent, down to the base at the
// root. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/mapping.h"
#include "base/unique_fd.h"
#include "memory/lazy_fill.h"
#include "memory/page_index.h"
#include "memory/page_map.h"
#include "spore/result.h"

namespace spore::memory {

// The pages that a machine touches between a fork and its first sign of life. A hint: whoever has
// them in place before runs faster, and no differently.
struct WorkingSet {
  std::vector<std::uint32_t> read;     // ascending, without those written
  std::vector<std::uint32_t> written;  // ascending
};

class RamImage {
 public:
  // `file` holds all of RAM and is not mapped shared any more: it is sealed.
  static Result<std::shared_ptr<const RamImage>> flat(base::UniqueFd file, std::uint64_t size);
  // `file` holds all of RAM, on disk, and may be open for reading only. Nobody changes it.
  static Result<std::shared_ptr<const RamImage>> mapped(base::UniqueFd file, std::uint64_t size);
  // The pages in `chunks` (ascending), which `loader` brings; all others are zero.
  static Result<std::shared_ptr<const RamImage>> lazy(std::uint64_t size,
                                                      std::span<const ChunkPages> chunks,
                                                      std::shared_ptr<ChunkLoader> loader,
                                                      const FillOptions& options = {});
  // `parent` but for `pages`, which are ascending and are read from `ram` (all of RAM).
  static Result<std::shared_ptr<const RamImage>> layer(std::shared_ptr<const RamImage> parent,
                                                       std::span<const std::uint32_t> pages,
                                                       std::span<const std::byte> ram);
  // The same, of pages that lie one after the other in `file`: in memory, or on disk and unchanged.
  static Result<std::shared_ptr<const RamImage>> layer_of(std::shared_ptr<const RamImage> parent,
                                                          base::UniqueFd file,
                                                          std::span<const std::uint32_t> pages);

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  // None for a base.
  [[nodiscard]] const std::shared_ptr<const RamImage>& parent() const noexcept { return parent_; }
  [[nodiscard]] int base_fd() const noexcept { return base_->file_.get(); }
  [[nodiscard]] bool has_base_of(const RamImage& other) const noexcept {
    return base_ == other.base_;
  }
  // What fills the base; nullptr when it is not lazy.
  [[nodiscard]] LazyFill* fill() const noexcept { return base_->fill_.get(); }
  // Makes `pages` readable: what lies in a lazy base is loaded.
  Result<void> ensure(std::span<const std::uint32_t> pages) const;
  // Begins to.
  void prefetch(std::span<const std::uint32_t> pages) const;
  // Whether touching the page, in a mapping, needs no load.
  [[nodiscard]] bool in_place(std::size_t page) const {
    return base_->fill_ == nullptr || overlay_.find(page) != nullptr ||
           base_->fill_->in_place(page);
  }
  // The bytes of page `number`, which ensure() was called for if the base may be lazy.
  [[nodiscard]] const std::byte* page(std::size_t number) const noexcept {
    if (const std::byte* own = overlay_.find(number); own != nullptr) {
      return own;
    }
    if (base_->fill_ != nullptr && !base_->fill_->has(number)) {
      return zero_page();
    }
    return base_->view_.data() + number * kPageSize;
  }
  // The pages that it holds itself, ascending, until an Error: of a base all that may not be zero,
  // of a layer those that are not its parent's. Loads what is lazy.
  using FoundPage =
      std::function<Result<void>(std::uint32_t page, std::span<const std::byte> bytes)>;
  Result<void> for_each_own_page(const FoundPage& found) const;
  // The pages that are not the base's, in runs that lie together in RAM and in a file.
  struct Run {
    std::size_t first = 0;  // page
    std::size_t count = 0;
    const std::byte* bytes = nullptr;
    int fd = -1;
    std::uint64_t offset = 0;
  };
  void for_each_overlay_run(const std::function<void(const Run&)>& found) const;
  // The pages that lie elsewhere in `other`, which has the same base.
  void for_each_difference(const RamImage& other,
                           const std::function<void(std::size_t page)>& found) const;

  // Of the first machine that recorded it; none before.
  [[nodiscard]] std::shared_ptr<const WorkingSet> working_set() const;
  void record(WorkingSet set) const;

  // Bytes that its file occupies, in memory or on disk; without its parents' / with all of them.
  [[nodiscard]] std::uint64_t own_bytes() const;
  [[nodiscard]] std::uint64_t resident_bytes() const;

 private:
  RamImage(base::UniqueFd file, base::Mapping view, std::uint64_t size,
           std::unique_ptr<LazyFill> fill);
  RamImage(base::UniqueFd file, base::Mapping view, std::shared_ptr<const RamImage> parent,
           PageIndex overlay);
  [[nodiscard]] static const std::byte* zero_page() noexcept;
  // Those that are the base's.
  [[nodiscard]] std::vector<std::uint32_t> base_pages(std::span<const std::uint32_t> pages) const;
  Result<void> for_each_base_page(const FoundPage& found) const;
  [[nodiscard]] bool is_in_view(const std::byte* bytes) const noexcept {
    return bytes >= view_.data() && bytes < view_.data() + view_.size();
  }

  const base::UniqueFd file_;             // all of RAM, or a layer's own pages one after the other
  const base::Mapping view_;              // of the file, for reading
  const std::unique_ptr<LazyFill> fill_;  // of a lazy base; uses file_ and view_
  const std::uint64_t size_;              // of RAM
  const std::shared_ptr<const RamImage> parent_;  // of a layer
  const RamImage* const base_;                    // itself, or a parent's
  const PageIndex overlay_;                       // everything that is not the base's
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const WorkingSet> working_set_;  // under mutex_
};

}  // namespace spore::memory
