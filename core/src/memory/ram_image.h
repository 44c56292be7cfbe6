// RamImage: the RAM of a captured machine, immutable. Either flat, one file in memory that holds
// all of it; or a layer, which has the pages that differ from its parent's, and shares the rest
// with its parent, down to the flat image at the root (the base). Any thread.
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
#include "memory/page_index.h"
#include "memory/page_map.h"
#include "spore/result.h"

namespace spore::memory {

// An empty file in memory, of `size` bytes.
Result<base::UniqueFd> create_memory_file(std::uint64_t size);
// Host memory that a file in memory occupies.
std::uint64_t allocated_bytes(int fd);

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
  // `parent` but for `pages`, which are ascending and are read from `ram` (all of RAM).
  static Result<std::shared_ptr<const RamImage>> layer(std::shared_ptr<const RamImage> parent,
                                                       std::span<const std::uint32_t> pages,
                                                       std::span<const std::byte> ram);

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  // nullptr: it is a base.
  [[nodiscard]] const std::shared_ptr<const RamImage>& parent() const noexcept { return parent_; }
  [[nodiscard]] int base_fd() const noexcept { return base_->file_.get(); }
  [[nodiscard]] bool has_base_of(const RamImage& other) const noexcept {
    return base_ == other.base_;
  }
  // The bytes of page `number`.
  [[nodiscard]] const std::byte* page(std::size_t number) const noexcept {
    const std::byte* own = overlay_.find(number);
    return own != nullptr ? own : base_->view_.data() + number * kPageSize;
  }
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

  // Bytes of host memory that it occupies, without its parents' / with all of them.
  [[nodiscard]] std::uint64_t own_bytes() const;
  [[nodiscard]] std::uint64_t resident_bytes() const;

 private:
  RamImage(base::UniqueFd file, base::Mapping view, std::uint64_t size,
           std::shared_ptr<const RamImage> parent, PageIndex overlay);

  const base::UniqueFd file_;  // all of RAM, or a layer's own pages one after the other
  const base::Mapping view_;   // of the file, for reading
  const std::uint64_t size_;   // of RAM
  const std::shared_ptr<const RamImage> parent_;  // of a layer
  const RamImage* const base_;                    // itself, or a parent's
  const PageIndex overlay_;                       // everything that is not the base's
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const WorkingSet> working_set_;  // under mutex_
};

}  // namespace spore::memory
