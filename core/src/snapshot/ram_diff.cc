#include "snapshot/ram_diff.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <iterator>
#include <map>
#include <string>
#include <utility>

#include "base/parallel.h"

namespace spore::snapshot {
namespace {

using Part = RamLayers::Part;
using Parts = std::vector<Part>;

constexpr std::array<std::byte, kPageBytes> kZeros{};

// Where a page's bytes are: a place in the content of a chunk; of a page of zeros nowhere.
struct Place {
  const Part* part = nullptr;
  std::size_t index = 0;  // of the chunk's pages

  [[nodiscard]] bool same_as(const Place& other) const {
    if (part == nullptr || other.part == nullptr) {
      return part == other.part;
    }
    return index == other.index && part->chunk->sha256 == other.part->chunk->sha256;
  }
};
using Places = std::array<Place, kPagesInChunk>;

Places places_of(const Parts& parts) {
  Places places;
  for (const Part& part : parts) {
    std::size_t index = 0;
    for (std::size_t page = 0; page < kPagesInChunk; ++page) {
      if (part.chunk->pages.contains(page)) {
        if (places[page].part == nullptr) {  // nothing above it
          places[page] = {&part, index};
        }
        ++index;
      }
    }
  }
  return places;
}

bool are_same(const Parts& left, const Parts& right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](const Part& a, const Part& b) {
                      return a.chunk->sha256 == b.chunk->sha256 && a.chunk->pages == b.chunk->pages;
                    });
}

// The chunks that one comparison had to read.
class Contents {
 public:
  Result<const std::byte*> page(const Place& place) {
    if (place.part == nullptr) {
      return kZeros.data();
    }
    const ChunkRef& chunk = *place.part->chunk;
    auto found = contents_.find(chunk.sha256);
    if (found == contents_.end()) {
      SPORE_ASSIGN(auto content, load_chunk(*place.part->owner, chunk));
      found = contents_.emplace(chunk.sha256, std::move(content)).first;
    }
    if ((place.index + 1) * kPageBytes > found->second.size()) {
      return fail(ErrorCode::kCorrupt,
                  "reading " + place.part->owner->describe(chunk) +
                      ": another spore has fewer pages in a chunk of the same digest");
    }
    return found->second.data() + place.index * kPageBytes;
  }
  [[nodiscard]] std::size_t count() const noexcept { return contents_.size(); }

 private:
  std::map<std::string, std::vector<std::byte>> contents_;
};

// Two RAMs, chunk by chunk; each chunk's answer in a place of its own.
class Comparison {
 public:
  Comparison(const RamLayers& left, const RamLayers& right) : left_(left), right_(right) {
    for (const RamLayers* ram : {&left, &right}) {
      for (const auto& [chunk, parts] : ram->chunks()) {
        chunks_.push_back(chunk);
      }
    }
    std::sort(chunks_.begin(), chunks_.end());
    chunks_.erase(std::unique(chunks_.begin(), chunks_.end()), chunks_.end());
    differing_.resize(chunks_.size());
  }

  Result<RamDiff> run() {
    SPORE_TRY(base::parallel_for(chunks_.size(), [this](std::size_t i) { return compare(i); }));
    RamDiff diff;
    diff.chunks_read = chunks_read_;
    for (std::size_t i = 0; i < chunks_.size(); ++i) {
      for (std::size_t page = 0; page < kPagesInChunk; ++page) {
        if (differing_[i].contains(page)) {
          add_page(chunks_[i] * kChunkBytes + page * kPageBytes, diff);
        }
      }
    }
    return diff;
  }

 private:
  Result<void> compare(std::size_t i) {
    static const Parts kNone;
    const auto in_left = left_.chunks().find(chunks_[i]);
    const auto in_right = right_.chunks().find(chunks_[i]);
    const Parts& left = in_left == left_.chunks().end() ? kNone : in_left->second;
    const Parts& right = in_right == right_.chunks().end() ? kNone : in_right->second;
    if (are_same(left, right)) {
      return {};
    }
    const Places left_places = places_of(left);
    const Places right_places = places_of(right);
    Contents contents;
    for (std::size_t page = 0; page < kPagesInChunk; ++page) {
      if (!left_places[page].same_as(right_places[page])) {
        SPORE_ASSIGN(const std::byte* left_page, contents.page(left_places[page]));
        SPORE_ASSIGN(const std::byte* right_page, contents.page(right_places[page]));
        if (std::memcmp(left_page, right_page, kPageBytes) != 0) {
          differing_[i].add(page);
        }
      }
    }
    chunks_read_ += contents.count();
    return {};
  }

  static void add_page(std::uint64_t offset, RamDiff& diff) {
    ++diff.pages;
    if (diff.ranges.empty() || diff.ranges.back().offset + diff.ranges.back().bytes != offset) {
      diff.ranges.push_back({offset, 0});
    }
    diff.ranges.back().bytes += kPageBytes;
  }

  const RamLayers& left_;
  const RamLayers& right_;
  std::vector<std::uint32_t> chunks_;  // of either; ascending
  std::vector<PageSet> differing_;     // by index of chunks_
  std::atomic<std::uint64_t> chunks_read_{0};
};

}  // namespace

Result<RamDiff> diff_ram(const RamLayers& left, const RamLayers& right) {
  return Comparison(left, right).run();
}

}  // namespace spore::snapshot
