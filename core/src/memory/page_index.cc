#include "memory/page_index.h"

#include "base/check.h"

namespace spore::memory {

PageIndex PageIndex::with(std::span<const Entry> entries) const {
  PageIndex result(*this);
  // Leaves that were copied already are this function's own until it returns.
  std::vector<Leaf*> own(leaves_.size(), nullptr);
  for (const Entry& entry : entries) {
    const std::size_t at = entry.page / kLeafPages;
    SPORE_CHECK(at < own.size());
    if (own[at] == nullptr) {
      auto copy = leaves_[at] ? std::make_shared<Leaf>(*leaves_[at]) : std::make_shared<Leaf>();
      own[at] = copy.get();
      result.leaves_[at] = std::move(copy);
    }
    (*own[at])[entry.page % kLeafPages] = entry.bytes;
  }
  return result;
}

void PageIndex::for_each(const std::function<void(const Entry&)>& found) const {
  for (std::size_t at = 0; at < leaves_.size(); ++at) {
    for (std::size_t i = 0; leaves_[at] && i < kLeafPages; ++i) {
      if (const std::byte* bytes = (*leaves_[at])[i]; bytes != nullptr) {
        found({static_cast<std::uint32_t>(at * kLeafPages + i), bytes});
      }
    }
  }
}

void PageIndex::for_each_difference(const PageIndex& left, const PageIndex& right,
                                    const std::function<void(std::size_t)>& found) {
  SPORE_CHECK(left.leaves_.size() == right.leaves_.size());
  for (std::size_t at = 0; at < left.leaves_.size(); ++at) {
    if (left.leaves_[at] == right.leaves_[at]) {
      continue;
    }
    for (std::size_t page = at * kLeafPages; page < (at + 1) * kLeafPages; ++page) {
      if (left.find(page) != right.find(page)) {
        found(page);
      }
    }
  }
}

}  // namespace spore::memory
