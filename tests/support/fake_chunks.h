// FakeChunks: the RAM of a machine as a loader gives it, chunk by chunk. Loads can be held back,
// counted, and refused.
#pragma once

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "memory/lazy_fill.h"

namespace spore::testing {

// Thread-safe.
class FakeChunks final : public memory::ChunkLoader {
 public:
  explicit FakeChunks(std::span<const std::byte> ram) : ram_(ram.begin(), ram.end()) {}

  // The pages that are not zero.
  [[nodiscard]] std::vector<memory::ChunkPages> list() const {
    static constexpr std::array<std::byte, memory::kPageSize> kZeros{};
    std::vector<memory::ChunkPages> chunks;
    for (std::size_t page = 0; page < ram_.size() / memory::kPageSize; ++page) {
      const auto bytes = std::span(ram_).subspan(page * memory::kPageSize, memory::kPageSize);
      if (std::memcmp(bytes.data(), kZeros.data(), bytes.size()) != 0) {
        const auto chunk = static_cast<std::uint32_t>(page / memory::kPagesPerChunk);
        if (chunks.empty() || chunks.back().chunk != chunk) {
          chunks.push_back({chunk, {}});
        }
        chunks.back().pages.set(page % memory::kPagesPerChunk);
      }
    }
    return chunks;
  }

  void refuse(std::uint32_t chunk, std::string why) {
    const std::lock_guard lock(mutex_);
    refused_[chunk] = std::move(why);
  }
  // Loads that begin wait from now on / go on.
  void hold(bool held) {
    const std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }
  [[nodiscard]] int loads(std::uint32_t chunk) {
    const std::lock_guard lock(mutex_);
    return loads_[chunk];
  }
  void await_load(std::uint32_t chunk) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return loads_[chunk] > 0; });
  }

  Result<void> load(std::uint32_t chunk, std::span<std::byte> bytes) override {
    {
      std::unique_lock lock(mutex_);
      ++loads_[chunk];
      changed_.notify_all();
      changed_.wait(lock, [&] { return !held_; });
      if (const auto refused = refused_.find(chunk); refused != refused_.end()) {
        return fail(ErrorCode::kCorrupt, refused->second);
      }
    }
    const auto from = std::span(ram_).subspan(chunk * memory::kChunkBytes);
    std::memset(bytes.data(), 0, bytes.size());
    std::memcpy(bytes.data(), from.data(), std::min(from.size(), bytes.size()));
    return {};
  }

 private:
  const std::vector<std::byte> ram_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint32_t, int> loads_;
  std::map<std::uint32_t, std::string> refused_;
  bool held_ = false;
};

}  // namespace spore::testing
