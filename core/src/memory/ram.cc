#include "memory/ram.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "memory/memory_file.h"
#include "memory/page_copy.h"
#include "memory/page_map.h"

namespace spore::memory {
namespace {

std::uint64_t total_size(const std::vector<RamPiece>& layout) {
  return std::accumulate(layout.begin(), layout.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const RamPiece& piece) { return sum + piece.size; });
}

std::vector<MemoryRegion> regions_of(const base::Mapping& mapping,
                                     const std::vector<RamPiece>& layout) {
  std::vector<MemoryRegion> regions;
  std::size_t offset = 0;
  for (const RamPiece& piece : layout) {
    regions.push_back({piece.base, mapping.bytes().subspan(offset, piece.size)});
    offset += piece.size;
  }
  return regions;
}

constexpr int kReadWrite = PROT_READ | PROT_WRITE;
// Where the host gives huge pages to files in memory, guest and host addresses must agree modulo
// their size.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Putting pages back is cheaper than faulting them in again at any number of them; this bounds the
// memory that a machine keeps from one life to the next (128 MiB).
constexpr std::size_t kMaxKeptPages = 32 * 1024;
// Pages that were written once are compared in every load from then on. A fault costs some
// sixteen comparisons: when as much was spent in vain as faulting in the pages in use would cost,
// it is time to start afresh.
constexpr std::size_t kComparisonsPerFault = 16;
constexpr std::size_t kFaultsOfAStart = 512;

// An overlay's run of at least so many pages is mapped, where it is shared; shorter ones are
// copied. A process has few mappings (65530), so there is a limit for each machine as well.
constexpr std::size_t kMinMappedRun = 32;
constexpr std::size_t kMaxMappedRuns = 64;

}  // namespace

Ram::Ram(base::UniqueFd file, base::Mapping mapping, const std::vector<RamPiece>& layout,
         std::unique_ptr<WrittenPages> written)
    : file_(std::move(file)),
      mapping_(std::move(mapping)),
      written_(std::move(written)),
      memory_(regions_of(mapping_, layout), written_.get()) {}

Result<std::unique_ptr<Ram>> Ram::create(const std::vector<RamPiece>& layout) {
  const std::uint64_t size = total_size(layout);
  SPORE_ASSIGN(base::UniqueFd file, create_memory_file(size));
  SPORE_ASSIGN(base::Mapping mapping, base::Mapping::create_aligned(
                                          size, kHugePage, kReadWrite, MAP_SHARED | MAP_NORESERVE,
                                          file.get(), "mapping a machine's RAM"));
  ::madvise(mapping.data(), size, MADV_HUGEPAGE);  // a wish: most hosts do not grant it
  return std::unique_ptr<Ram>(new Ram(std::move(file), std::move(mapping), layout, nullptr));
}

Result<std::unique_ptr<Ram>> Ram::reserve(const std::vector<RamPiece>& layout) {
  const std::uint64_t size = total_size(layout);
  SPORE_ASSIGN(base::Mapping mapping,
               base::Mapping::create_aligned(size, kHugePage, PROT_NONE,
                                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                                             "reserving addresses for a machine's RAM"));
  return std::unique_ptr<Ram>(new Ram(base::UniqueFd(), std::move(mapping), layout,
                                      std::make_unique<WrittenPages>(size / kPageSize)));
}

Ram::~Ram() {
  unwatch();
}

Result<Ram::Loaded> Ram::load(std::shared_ptr<const RamImage> image) {
  SPORE_CHECK(written_ && image->size() == mapping_.size());
  Loaded loaded;
  const bool stale = checked_in_vain_ > kComparisonsPerFault * kFaultsOfAStart;
  if (!image_ || !image_->has_base_of(*image) || stale ||
      written_->pages().size() > kMaxKeptPages || lost_page()) {
    SPORE_TRY(map_anew(image));
    loaded.anew = true;
    image_ = std::move(image);
    prefetch();
    return loaded;
  }
  SPORE_TRY(ensure_comparable(*image));
  const auto check = [&](std::size_t page) {
    ++loaded.checked;
    loaded.copied += put_back(page, *image) ? 1 : 0;
  };
  for (const std::uint32_t page : written_->pages()) {
    check(page);
  }
  if (image_ != image) {
    image_->for_each_difference(*image, [&](std::size_t page) {
      if (!written_->contains(page)) {
        check(page);
      }
    });
  }
  checked_in_vain_ += loaded.checked - loaded.copied;
  image_ = std::move(image);
  return loaded;
}

// A page of this window that was never touched is still the old image's.
Result<void> Ram::ensure_comparable(const RamImage& image) const {
  if (image.fill() == nullptr) {
    return {};
  }
  std::vector<std::uint32_t> pages(written_->pages().begin(), written_->pages().end());
  if (image_.get() != &image) {
    image_->for_each_difference(
        image, [&](std::size_t page) { pages.push_back(static_cast<std::uint32_t>(page)); });
  }
  SPORE_TRY(image_->ensure(pages));
  return image.ensure(pages);
}

bool Ram::put_back(std::size_t page, const RamImage& image) {
  return copy_difference(mapping_.data() + page * kPageSize, image.page(page));
}

Result<void> Ram::map_anew(const std::shared_ptr<const RamImage>& image) {
  unwatch();
  // A hypervisor may still look at a page on behalf of a machine that is over. What it touched
  // before that is watched would become a page of zeros in the image's file.
  const bool lazy = image->fill() != nullptr && !image->fill()->why_eager();
  SPORE_TRY(map_file(image->base_fd(), lazy ? PROT_NONE : kReadWrite));
  if (lazy) {
    SPORE_TRY(watch(image));
  }
  written_->clear();
  checked_in_vain_ = 0;
  SPORE_TRY(map_overlay(*image));
  if (lazy && ::mprotect(mapping_.data(), mapping_.size(), kReadWrite) != 0) {
    return fail(Error::from_errno(errno, "mapping a captured machine's RAM privately"));
  }
  return {};
}

Result<void> Ram::map_overlay(const RamImage& image) {
  std::size_t mapped = 0;
  Result<void> done;
  image.for_each_overlay_run([&](const RamImage::Run& run) {
    std::byte* at = mapping_.data() + run.first * kPageSize;
    const std::size_t size = run.count * kPageSize;
    if (!done) {
      return;
    }
    if (run.count >= kMinMappedRun && mapped < kMaxMappedRuns) {
      ++mapped;
      if (::mmap(at, size, kReadWrite, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, run.fd,
                 static_cast<off_t>(run.offset)) == MAP_FAILED) {
        done = fail(Error::from_errno(errno, "mapping a spore's layer"));
      }
    } else if (watched_) {
      done = watched_->fill()->place(at, {run.bytes, size});
    } else {
      std::memcpy(at, run.bytes, size);
    }
  });
  return done;
}

Result<void> Ram::watch(const std::shared_ptr<const RamImage>& image) {
  SPORE_TRY(image->fill()->watch(mapping_.bytes(), [this](const Error& error) {
    const std::lock_guard lock(lost_mutex_);
    if (!lost_page_) {
      lost_page_ = error;
    }
    if (on_lost_page_) {
      on_lost_page_(error);
    }
  }));
  watched_ = image;
  return {};
}

void Ram::unwatch() {
  if (watched_) {
    watched_->fill()->unwatch(mapping_.bytes());
    watched_.reset();
  }
  const std::lock_guard lock(lost_mutex_);
  lost_page_.reset();
}

void Ram::on_lost_page(LazyFill::OnFailure lost) {
  const std::lock_guard lock(lost_mutex_);
  on_lost_page_ = std::move(lost);
}

std::optional<Error> Ram::lost_page() const {
  const std::lock_guard lock(lost_mutex_);
  return lost_page_;
}

Result<void> Ram::record_working_set() const {
  SPORE_CHECK(written_ && image_);
  WorkingSet set;
  set.written.assign(written_->pages().begin(), written_->pages().end());
  std::sort(set.written.begin(), set.written.end());
  SPORE_TRY(for_each_present_run(mapping_.bytes(), [&](std::size_t offset, std::size_t size) {
    for (std::size_t page = offset / kPageSize; page < (offset + size) / kPageSize; ++page) {
      if (!written_->contains(page)) {
        set.read.push_back(static_cast<std::uint32_t>(page));
      }
    }
  }));
  image_->record(std::move(set));
  return {};
}

void Ram::prefetch() {
  const auto set = image_->working_set();
  if (!set) {
    return;
  }
  // Not what is yet to be loaded: a machine that never touches it does not wait for it, nor end
  // when it is not to be had.
  image_->prefetch(set->written);
  image_->prefetch(set->read);
  // A wish: an older kernel (before 5.14) does not know it.
  const auto populate = [this](std::span<const std::uint32_t> pages, int how) {
    for (std::size_t at = 0; at < pages.size();) {
      std::size_t count = 0;
      while (at + count < pages.size() && pages[at + count] == pages[at] + count &&
             image_->in_place(pages[at + count])) {
        ++count;
      }
      if (count > 0) {
        ::madvise(mapping_.data() + pages[at] * kPageSize, count * kPageSize, how);
      }
      at += std::max<std::size_t>(count, 1);
    }
  };
  populate(set->written, MADV_POPULATE_WRITE);
  populate(set->read, MADV_POPULATE_READ);
}

Result<void> Ram::map_file(int fd, int protection) {
  void* at = ::mmap(mapping_.data(), mapping_.size(), protection,
                    MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd, 0);
  if (at == MAP_FAILED) {
    return fail(Error::from_errno(errno, "mapping a captured machine's RAM privately"));
  }
  return {};
}

Result<std::shared_ptr<const RamImage>> Ram::capture() {
  if (file_.valid()) {
    return seal_own_file();
  }
  SPORE_CHECK(image_ != nullptr);
  SPORE_ASSIGN(const auto pages, differing_pages());
  SPORE_ASSIGN(auto layer, RamImage::layer(image_, pages, mapping_.bytes()));
  if (auto lost = lost_page()) {
    return fail(std::move(*lost));  // what was made of its zeros is in the layer
  }
  image_ = std::move(layer);
  return image_;
}

Result<std::shared_ptr<const RamImage>> Ram::seal_own_file() {
  // The seal against writes needs the shared mapping to be gone, so the private one comes first.
  SPORE_TRY(map_file(file_.get(), kReadWrite));
  SPORE_ASSIGN(image_, RamImage::flat(std::move(file_), mapping_.size()));
  return image_;
}

// Ascending.
Result<std::vector<std::uint32_t>> Ram::differing_pages() const {
  std::vector<std::uint32_t> pages;
  const auto add = [&](std::size_t page) {
    if (std::memcmp(mapping_.data() + page * kPageSize, image_->page(page), kPageSize) != 0) {
      pages.push_back(static_cast<std::uint32_t>(page));
    }
  };
  if (written_) {
    SPORE_TRY(image_->ensure(written_->pages()));
    for (const std::uint32_t page : written_->pages()) {
      add(page);
    }
    std::sort(pages.begin(), pages.end());
    return pages;
  }
  SPORE_TRY(for_each_private_run(mapping_.bytes(), [&](std::size_t offset, std::size_t size) {
    for (std::size_t page = offset / kPageSize; page < (offset + size) / kPageSize; ++page) {
      add(page);
    }
  }));
  return pages;
}

Result<std::uint64_t> Ram::private_bytes() const {
  if (file_.valid()) {
    return allocated_bytes(file_.get());
  }
  if (!image_) {
    return 0;
  }
  std::uint64_t bytes = 0;
  SPORE_TRY(for_each_private_run(mapping_.bytes(),
                                 [&bytes](std::size_t, std::size_t size) { bytes += size; }));
  return bytes;
}

std::uint64_t Ram::shared_bytes() const {
  return image_ ? image_->resident_bytes() : 0;
}

}  // namespace spore::memory
