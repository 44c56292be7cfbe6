// No event is lost: the thread that answers faults takes each and either wakes the one that waits,
// or leaves it to the end of a load, which wakes all mappings that are watched then; unwatch()
// wakes its own. Whoever was woken touches the page again, and waits again if it must.
#include "memory/lazy_fill.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/check.h"
#include "base/files.h"
#include "memory/memory_file.h"

namespace spore::memory {
namespace {

// They belong to the process's other threads.
void keep_signals_away() {
  sigset_t signals;
  ::sigfillset(&signals);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace

Result<void> LazyFill::check(std::size_t size, std::span<const ChunkPages> chunks) {
  const auto corrupt = [](std::string what) {
    return fail(ErrorCode::kCorrupt, "loading a machine's RAM: " + std::move(what));
  };
  const std::size_t pages = size / kPageSize;
  if (pages == 0 || size % kPageSize != 0) {
    return corrupt(fmt::format("its size ({} bytes) is not a number of pages", size));
  }
  for (std::size_t at = 0; at < chunks.size(); ++at) {
    const std::size_t chunk = chunks[at].chunk;
    if (at > 0 && chunk <= chunks[at - 1].chunk) {
      return corrupt(fmt::format("chunk {} is not where it belongs in the list", chunk));
    }
    const std::size_t first = chunk * kPagesPerChunk;
    const std::size_t room = first < pages ? std::min(pages - first, kPagesPerChunk) : 0;
    if (room < kPagesPerChunk && (room == 0 || (chunks[at].pages >> room).any())) {
      return corrupt(fmt::format("chunk {} has pages behind its end ({} bytes)", chunk, size));
    }
  }
  return {};
}

Result<std::unique_ptr<LazyFill>> LazyFill::create(int file, std::span<const std::byte> view,
                                                   std::span<const ChunkPages> chunks,
                                                   std::shared_ptr<ChunkLoader> loader,
                                                   const FillOptions& options) {
  SPORE_TRY(check(view.size(), chunks));
  Result<Userfault> userfault =
      options.use_userfault ? Userfault::create()
                            : fail(ErrorCode::kUnavailable, "loading on first touch is turned off");
  std::unique_ptr<LazyFill> fill(
      new LazyFill(file, view, chunks, std::move(loader), std::move(userfault)));
  SPORE_TRY(fill->start());
  return fill;
}

LazyFill::LazyFill(int file, std::span<const std::byte> view, std::span<const ChunkPages> chunks,
                   std::shared_ptr<ChunkLoader> loader, Result<Userfault> userfault)
    : file_(file),
      view_(view),
      loader_(std::move(loader)),
      userfault_(userfault ? std::optional(std::move(*userfault)) : std::nullopt),
      why_eager_(userfault ? std::nullopt : std::optional(userfault.error())),
      places_((view.size() + kChunkBytes - 1) / kChunkBytes) {
  chunks_.reserve(chunks.size());
  for (const ChunkPages& chunk : chunks) {
    if (chunk.pages.any()) {
      chunks_.push_back({chunk});
      places_[chunk.chunk] = static_cast<std::uint32_t>(chunks_.size());
    }
  }
}

Result<void> LazyFill::start() {
  ending_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!ending_.valid()) {
    return fail(Error::from_errno(errno, "preparing to load a machine's RAM"));
  }
  if (userfault_) {
    SPORE_TRY(userfault_->watch(view_));
    // Who reads the view has called ensure(): else it might be of wrong bytes.
    watches_.emplace(view_.data(),
                     Watch{view_.size(), [](const Error&) { SPORE_CHECK(!"read unensured"); }});
    threads_.emplace_back([this] { answer_faults(); });
  }
  const std::size_t loaders = std::max(1U, std::thread::hardware_concurrency());
  for (std::size_t i = 0; i < std::min(loaders, chunks_.size()); ++i) {
    threads_.emplace_back([this] { load_chunks(); });
  }
  if (!userfault_) {
    SPORE_TRY(for_each_page([](std::uint32_t) { return Result<void>(); }));
    stop();
  }
  return {};
}

LazyFill::~LazyFill() {
  SPORE_CHECK(watches_.size() <= 1);  // the view
  stop();
}

void LazyFill::stop() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  work_.notify_all();
  if (ending_.valid()) {
    ::eventfd_write(ending_.get(), 1);
  }
  for (std::thread& thread : threads_) {
    thread.join();
  }
  threads_.clear();
}

const LazyFill::Chunk* LazyFill::find(std::size_t page) const noexcept {
  const std::uint32_t place = places_[page / kPagesPerChunk];
  if (place == 0 || !chunks_[place - 1].has.pages[page % kPagesPerChunk]) {
    return nullptr;
  }
  return &chunks_[place - 1];
}

bool LazyFill::in_place(std::size_t page) const {
  const Chunk* chunk = find(page);
  if (chunk == nullptr) {
    return true;
  }
  const std::lock_guard lock(mutex_);
  return chunk->state == State::kLoaded;
}

void LazyFill::prefetch(std::span<const std::uint32_t> pages) {
  {
    const std::lock_guard lock(mutex_);
    for (const std::uint32_t page : pages) {
      Chunk* chunk = find(page);
      if (chunk != nullptr && chunk->state == State::kAbsent) {
        chunk->state = State::kQueued;
        queued_.push_back(chunk);
      }
    }
  }
  work_.notify_all();
}

void LazyFill::want(Chunk& chunk) {
  if (chunk.state < State::kWanted) {
    chunk.state = State::kWanted;
    wanted_.push_back(&chunk);
    work_.notify_one();
  }
}

Result<void> LazyFill::ensure(std::span<const std::uint32_t> pages) {
  std::unique_lock lock(mutex_);
  for (const std::uint32_t page : pages) {
    if (Chunk* chunk = find(page); chunk != nullptr) {
      want(*chunk);
    }
  }
  for (const std::uint32_t page : pages) {
    if (const Chunk* chunk = find(page); chunk != nullptr) {
      changed_.wait(lock, [&] { return is_over(*chunk); });
      if (chunk->error) {
        return fail(*chunk->error);
      }
    }
  }
  return {};
}

Result<void> LazyFill::for_each_page(const std::function<Result<void>(std::uint32_t page)>& found) {
  std::vector<std::uint32_t> pages;
  for (const Chunk& chunk : chunks_) {
    for (std::size_t i = 0; i < kPagesPerChunk; ++i) {
      if (chunk.has.pages[i]) {
        pages.push_back(static_cast<std::uint32_t>(chunk.has.chunk * kPagesPerChunk + i));
      }
    }
  }
  prefetch(pages);
  for (const std::uint32_t& page : pages) {
    SPORE_TRY(ensure({&page, 1}));
    SPORE_TRY(found(page));
  }
  return {};
}

Result<void> LazyFill::watch(std::span<std::byte> window, OnFailure on_failure) {
  SPORE_CHECK(userfault_ && window.size() == view_.size());
  {
    const std::lock_guard lock(mutex_);
    watches_.emplace(window.data(), Watch{window.size(), std::move(on_failure)});
  }
  auto watched = userfault_->watch(window);
  if (!watched) {
    unwatch(window);
  }
  return watched;
}

void LazyFill::unwatch(std::span<std::byte> window) {
  {
    std::unique_lock lock(mutex_);
    const auto gone = watches_.extract(window.data());
    SPORE_CHECK(!gone.empty());
    // It would give this mapping's zeros to the next one.
    changed_.wait(lock, [&] { return answering_ != &gone.mapped(); });
  }
  userfault_->wake(window);
}

Result<void> LazyFill::place(std::byte* at, std::span<const std::byte> bytes) {
  return userfault_->copy(at, bytes);
}

FillCounters LazyFill::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

void LazyFill::answer_faults() {
  keep_signals_away();
  pollfd waits[] = {{userfault_->descriptor(), POLLIN, 0}, {ending_.get(), POLLIN, 0}};
  for (;;) {
    ::poll(waits, std::size(waits), -1);
    if (waits[1].revents != 0) {
      return;
    }
    while (const auto touched = userfault_->next()) {
      answer(*touched);
    }
  }
}

void LazyFill::answer(const std::byte* touched) {
  std::unique_lock lock(mutex_);
  ++counters_.faults_served;
  const auto watch = watch_of(touched);
  if (watch == watches_.end()) {
    lock.unlock();
    userfault_->wake({touched, kPageSize});  // it was watched when it was touched
    return;
  }
  const auto page = static_cast<std::size_t>(touched - watch->first) / kPageSize;
  Chunk* chunk = find(page);
  if (chunk != nullptr && !is_over(*chunk)) {
    want(*chunk);
    return;
  }
  const bool failed = chunk != nullptr && chunk->state == State::kFailed;
  answering_ = &watch->second;
  lock.unlock();
  if (failed) {
    answering_->on_failure(*chunk->error);
  }
  if (chunk == nullptr || failed) {
    give_zeros(touched, failed ? 1 : zeros_from(page));
  } else {
    userfault_->wake({touched, kPageSize});
  }
  lock.lock();
  answering_ = nullptr;
  changed_.notify_all();
}

LazyFill::Watches::iterator LazyFill::watch_of(const std::byte* address) {
  const auto after = watches_.upper_bound(address);
  if (after == watches_.begin()) {
    return watches_.end();
  }
  const auto watch = std::prev(after);
  const auto offset = static_cast<std::size_t>(address - watch->first);
  return offset < watch->second.size ? watch : watches_.end();
}

// How many pages from `page` on there are not, in its chunk.
std::size_t LazyFill::zeros_from(std::size_t page) const noexcept {
  const std::size_t end =
      std::min(page / kPagesPerChunk * kPagesPerChunk + kPagesPerChunk, view_.size() / kPageSize);
  std::size_t count = 0;
  while (page + count < end && !has(page + count)) {
    ++count;
  }
  return count;
}

// The pages that follow are likely to be touched as well; they cannot be had when something else is
// mapped among them.
void LazyFill::give_zeros(const std::byte* touched, std::size_t pages) {
  if (!userfault_->zero({touched, pages * kPageSize}) && !userfault_->zero({touched, kPageSize})) {
    userfault_->wake({touched, kPageSize});
  }
}

void LazyFill::load_chunks() {
  keep_signals_away();
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return over_ || !wanted_.empty() || !queued_.empty(); });
    if (over_) {
      return;
    }
    auto& queue = wanted_.empty() ? queued_ : wanted_;
    Chunk& chunk = *queue.front();
    queue.pop_front();
    if (chunk.state <= State::kWanted) {  // else it was in both
      chunk.state = State::kLoading;
      lock.unlock();
      load(chunk);
      lock.lock();
    }
  }
}

void LazyFill::load(Chunk& chunk) {
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kChunkBytes);
  const std::span bytes(buffer.get(), kChunkBytes);
  auto done = loader_->load(chunk.has.chunk, bytes);
  if (done) {
    done = install(chunk.has, bytes);
  }
  std::vector<std::span<const std::byte>> waiting;
  {
    const std::lock_guard lock(mutex_);
    if (done) {
      chunk.state = State::kLoaded;
      ++counters_.chunks_loaded;
      counters_.bytes_loaded += chunk.has.pages.count() * kPageSize;
    } else {
      chunk.error = std::move(done).error();
      chunk.state = State::kFailed;
    }
    const std::size_t offset = chunk.has.chunk * kChunkBytes;
    for (const auto& [start, watch] : watches_) {
      waiting.emplace_back(start + offset, std::min(kChunkBytes, watch.size - offset));
    }
  }
  changed_.notify_all();
  for (const auto range : waiting) {
    userfault_->wake(range);
  }
}

Result<void> LazyFill::install(const ChunkPages& has, std::span<const std::byte> bytes) {
  for (std::size_t at = 0; at < kPagesPerChunk;) {
    std::size_t count = 0;
    while (at + count < kPagesPerChunk && has.pages[at + count]) {
      ++count;
    }
    if (count > 0) {
      const auto run = bytes.subspan(at * kPageSize, count * kPageSize);
      const std::size_t offset = has.chunk * kChunkBytes + at * kPageSize;
      const auto done = userfault_ ? userfault_->copy(view_.data() + offset, run)
                                   : base::write_all_at(file_, run, offset, "a machine's RAM");
      if (!done) {
        return fail(done.error().with_context(fmt::format("chunk {}", has.chunk)));
      }
    }
    at += count + 1;
  }
  return {};
}

}  // namespace spore::memory
