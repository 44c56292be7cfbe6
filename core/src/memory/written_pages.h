// WrittenPages: a set of pages of one machine's RAM, by number (offset in RAM / 4096). Adding and
// listing cost what is in it, never the size of RAM.
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace spore::memory {

class WrittenPages {
 public:
  // Holds pages 0 to `pages` - 1.
  explicit WrittenPages(std::size_t pages) : present_((pages + 63) / 64) {}

  void add(std::size_t page) {
    std::uint64_t& word = present_[page / 64];
    const std::uint64_t bit = std::uint64_t{1} << (page % 64);
    if ((word & bit) == 0) {
      word |= bit;
      pages_.push_back(static_cast<std::uint32_t>(page));
    }
  }
  void clear() {
    for (const std::uint32_t page : pages_) {
      present_[page / 64] = 0;
    }
    pages_.clear();
  }
  [[nodiscard]] bool contains(std::size_t page) const {
    return (present_[page / 64] >> (page % 64) & 1) != 0;
  }
  // In the order in which they were added.
  [[nodiscard]] std::span<const std::uint32_t> pages() const noexcept { return pages_; }

 private:
  std::vector<std::uint64_t> present_;
  std::vector<std::uint32_t> pages_;
};

}  // namespace spore::memory
