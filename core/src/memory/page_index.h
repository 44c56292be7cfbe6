// PageIndex: where the pages are that a layer of RAM has of its own. Immutable: an index made from
// another one shares with it all that did not change, so a lookup costs the same at any depth of
// layers, and making one costs the pages that are added.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace spore::memory {

class PageIndex {
 public:
  struct Entry {
    std::uint32_t page = 0;  // offset in RAM / 4096
    const std::byte* bytes = nullptr;
  };

  // For RAM of `pages` pages; empty.
  explicit PageIndex(std::size_t pages) : leaves_((pages + kLeafPages - 1) / kLeafPages) {}

  // This index and `entries`, which win.
  [[nodiscard]] PageIndex with(std::span<const Entry> entries) const;

  // nullptr for a page that is not in it.
  [[nodiscard]] const std::byte* find(std::size_t page) const noexcept {
    const auto& leaf = leaves_[page / kLeafPages];
    return leaf ? (*leaf)[page % kLeafPages] : nullptr;
  }
  // All entries, by ascending page.
  void for_each(const std::function<void(const Entry&)>& found) const;
  // The pages whose bytes are not at the same place in both; both have the same size.
  static void for_each_difference(const PageIndex& left, const PageIndex& right,
                                  const std::function<void(std::size_t page)>& found);

 private:
  static constexpr std::size_t kLeafPages = 512;
  using Leaf = std::array<const std::byte*, kLeafPages>;

  std::vector<std::shared_ptr<const Leaf>> leaves_;  // null: nothing of it
};

}  // namespace spore::memory
