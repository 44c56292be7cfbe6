// LazyFill: fills the file of a RamImage with its pages as they are needed. The first thread that
// touches a page, whatever it is (a vCPU in its guest, KVM, a device), waits until the page's chunk
// is loaded; all mappings of the file then share it. A page that there is not is zero, and takes no
// memory.
//
// What a ChunkLoader gives is trusted: it has checked the bytes. Which pages there are comes from a
// file and is checked here.
#pragma once

#include <bitset>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "memory/chunk.h"
#include "memory/userfault.h"
#include "spore/result.h"

namespace spore::memory {

// The pages of a chunk (offset in RAM / 2 MiB) that there are; all others are zero.
struct ChunkPages {
  std::uint32_t chunk = 0;
  std::bitset<kPagesPerChunk> pages;
};

// Called from several threads at once, for each chunk at most once.
class ChunkLoader {
 public:
  virtual ~ChunkLoader() = default;
  // Writes the whole chunk into `bytes` (kChunkBytes), checked. An Error names the chunk, and ends
  // every machine that touches it. Must not touch a machine's RAM.
  virtual Result<void> load(std::uint32_t chunk, std::span<std::byte> bytes) = 0;
};

struct FillOptions {
  bool use_userfault = true;  // where the host has it
};

struct FillCounters {
  std::uint64_t chunks_loaded = 0;
  std::uint64_t bytes_loaded = 0;   // of the pages that there are in them
  std::uint64_t faults_served = 0;  // touches that had to wait, of zero pages as well
};

// Threads: any; it has one that answers faults, and as many that load as there are CPUs. Where the
// host has no userfaultfd everything is loaded before create() returns, and nothing waits later.
class LazyFill {
 public:
  using OnFailure = std::function<void(const Error&)>;

  // For an empty file in memory and a shared mapping of all of it, both borrowed. `chunks` are
  // ascending.
  static Result<std::unique_ptr<LazyFill>> create(int file, std::span<const std::byte> view,
                                                  std::span<const ChunkPages> chunks,
                                                  std::shared_ptr<ChunkLoader> loader,
                                                  const FillOptions& options);
  ~LazyFill();
  LazyFill(const LazyFill&) = delete;
  LazyFill& operator=(const LazyFill&) = delete;

  // Why everything was loaded at once; nothing when it was not.
  [[nodiscard]] const std::optional<Error>& why_eager() const noexcept { return why_eager_; }
  // Whether there is such a page: else it is zero.
  [[nodiscard]] bool has(std::size_t page) const noexcept { return find(page) != nullptr; }
  // Whether touching the page needs no load any more.
  [[nodiscard]] bool in_place(std::size_t page) const;
  // Begins to load the chunks of `pages`, after those that somebody waits for.
  void prefetch(std::span<const std::uint32_t> pages);
  // Loads the chunks of `pages`, in parallel. They can be read in the view, but for those that
  // there are not.
  Result<void> ensure(std::span<const std::uint32_t> pages);
  // Loads everything and names each page that there is, ascending.
  Result<void> for_each_page(const std::function<Result<void>(std::uint32_t page)>& found);

  // Where not everything was loaded at once: serves a private mapping of the whole file, until
  // unwatch(). Nobody can have touched it: it may be inaccessible until this returns. When a chunk
  // cannot be loaded, `on_failure` is called by the thread that answers faults, which has to go on
  // soon. Only then whoever touched the page goes on, with zeros, in this mapping alone.
  Result<void> watch(std::span<std::byte> window, OnFailure on_failure);
  // `on_failure` is neither running nor called any more when this returns; it must not be called
  // from there. The caller unmaps the window, or maps something else there.
  void unwatch(std::span<std::byte> window);
  // Gives pages of a watched window that nobody has touched bytes of their own, without loading
  // what would lie beneath.
  Result<void> place(std::byte* at, std::span<const std::byte> bytes);

  [[nodiscard]] FillCounters counters() const;

 private:
  enum class State { kAbsent, kQueued, kWanted, kLoading, kLoaded, kFailed };
  struct Chunk {
    ChunkPages has;
    State state = State::kAbsent;
    std::optional<Error> error{};  // of kFailed; does not change any more
  };
  struct Watch {
    std::size_t size = 0;
    OnFailure on_failure;
  };
  using Watches = std::map<const std::byte*, Watch>;

  LazyFill(int file, std::span<const std::byte> view, std::span<const ChunkPages> chunks,
           std::shared_ptr<ChunkLoader> loader, Result<Userfault> userfault);
  static Result<void> check(std::size_t size, std::span<const ChunkPages> chunks);
  Result<void> start();
  void stop();

  [[nodiscard]] const Chunk* find(std::size_t page) const noexcept;
  [[nodiscard]] Chunk* find(std::size_t page) noexcept {
    return const_cast<Chunk*>(std::as_const(*this).find(page));
  }
  static bool is_over(const Chunk& chunk) { return chunk.state >= State::kLoaded; }
  void want(Chunk& chunk);  // with mutex_ held
  void answer_faults();
  void answer(const std::byte* touched);
  void give_zeros(const std::byte* touched, std::size_t pages);
  [[nodiscard]] std::size_t zeros_from(std::size_t page) const noexcept;
  Watches::iterator watch_of(const std::byte* address);  // with mutex_ held
  void load_chunks();
  void load(Chunk& chunk);
  Result<void> install(const ChunkPages& has, std::span<const std::byte> bytes);

  const int file_;
  const std::span<const std::byte> view_;
  const std::shared_ptr<ChunkLoader> loader_;
  const std::optional<Userfault> userfault_;  // none: everything is there
  const std::optional<Error> why_eager_;
  base::UniqueFd ending_;  // readable when the thread that answers faults is to end

  mutable std::mutex mutex_;
  std::condition_variable work_;       // for those that load
  std::condition_variable changed_;    // a chunk's end, or answering_
  std::vector<Chunk> chunks_;          // under mutex_, but for `has`
  std::vector<std::uint32_t> places_;  // by chunk: its place in chunks_ + 1, or 0; constant
  std::deque<Chunk*> wanted_;          // under mutex_, as all below
  std::deque<Chunk*> queued_;
  Watches watches_;
  const Watch* answering_ = nullptr;  // whose fault is being answered without mutex_
  FillCounters counters_;
  bool over_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace spore::memory
