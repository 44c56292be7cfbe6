#include "memory/ram_image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/files.h"
#include "memory/memory_file.h"

namespace spore::memory {
namespace {

Result<void> seal(const base::UniqueFd& file) {
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (::fcntl(file.get(), F_ADD_SEALS, kSeals) != 0) {
    return fail(Error::from_errno(errno, "sealing a captured machine's RAM"));
  }
  return {};
}

Result<base::Mapping> map_for_reading(const base::UniqueFd& file, std::uint64_t size) {
  // Private, because older kernels refuse a shared mapping of a sealed file even for reading.
  return base::Mapping::create(size, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, file.get(), 0,
                               "mapping a captured machine's RAM");
}

Result<void> check_size(const base::UniqueFd& file, std::uint64_t needed, std::string_view what) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    return fail(Error::from_errno(errno, fmt::format("reading the size of {}", what)));
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size < needed) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("mapping {}: it has {} bytes instead of {}", what, size, needed));
  }
  return {};
}

// How many of `pages` from `at` on follow each other.
std::size_t run_length(std::span<const std::uint32_t> pages, std::size_t at) {
  std::size_t count = 1;
  while (at + count < pages.size() && pages[at + count] == pages[at] + count) {
    ++count;
  }
  return count;
}

}  // namespace

RamImage::RamImage(base::UniqueFd file, base::Mapping view, std::uint64_t size,
                   std::unique_ptr<LazyFill> fill)
    : file_(std::move(file)),
      view_(std::move(view)),
      fill_(std::move(fill)),
      size_(size),
      base_(this),
      overlay_(size / kPageSize) {}

RamImage::RamImage(base::UniqueFd file, base::Mapping view, std::shared_ptr<const RamImage> parent,
                   PageIndex overlay)
    : file_(std::move(file)),
      view_(std::move(view)),
      size_(parent->size_),
      parent_(std::move(parent)),
      base_(parent_->base_),
      overlay_(std::move(overlay)) {}

Result<std::shared_ptr<const RamImage>> RamImage::flat(base::UniqueFd file, std::uint64_t size) {
  SPORE_TRY(seal(file));
  return mapped(std::move(file), size);
}

Result<std::shared_ptr<const RamImage>> RamImage::mapped(base::UniqueFd file, std::uint64_t size) {
  SPORE_TRY(check_size(file, size, "a captured machine's RAM"));
  SPORE_ASSIGN(base::Mapping view, map_for_reading(file, size));
  return std::shared_ptr<const RamImage>(
      new RamImage(std::move(file), std::move(view), size, nullptr));
}

Result<std::shared_ptr<const RamImage>> RamImage::lazy(std::uint64_t size,
                                                       std::span<const ChunkPages> chunks,
                                                       std::shared_ptr<ChunkLoader> loader,
                                                       const FillOptions& options) {
  SPORE_ASSIGN(base::UniqueFd file, create_memory_file(size));
  // Shared, because it is the way in which the pages get into the file.
  SPORE_ASSIGN(base::Mapping view,
               base::Mapping::create(size, PROT_READ, MAP_SHARED | MAP_NORESERVE, file.get(), 0,
                                     "mapping a captured machine's RAM"));
  SPORE_ASSIGN(auto fill,
               LazyFill::create(file.get(), view.bytes(), chunks, std::move(loader), options));
  return std::shared_ptr<const RamImage>(
      new RamImage(std::move(file), std::move(view), size, std::move(fill)));
}

Result<std::shared_ptr<const RamImage>> RamImage::layer(std::shared_ptr<const RamImage> parent,
                                                        std::span<const std::uint32_t> pages,
                                                        std::span<const std::byte> ram) {
  SPORE_CHECK(ram.size() == parent->size());
  SPORE_ASSIGN(base::UniqueFd file, create_memory_file(pages.size() * kPageSize));
  for (std::size_t at = 0; at < pages.size();) {
    const std::size_t count = run_length(pages, at);
    SPORE_TRY(base::write_all_at(file.get(), ram.subspan(pages[at] * kPageSize, count * kPageSize),
                                 at * kPageSize, "a captured machine's RAM"));
    at += count;
  }
  SPORE_TRY(seal(file));
  return layer_of(std::move(parent), std::move(file), pages);
}

Result<std::shared_ptr<const RamImage>> RamImage::layer_of(std::shared_ptr<const RamImage> parent,
                                                           base::UniqueFd file,
                                                           std::span<const std::uint32_t> pages) {
  const std::uint64_t own_size = pages.size() * kPageSize;
  SPORE_TRY(check_size(file, own_size, "the pages of a layer"));
  const bool ascending =
      std::adjacent_find(pages.begin(), pages.end(), std::greater_equal<>()) == pages.end();
  if (!ascending || (!pages.empty() && pages.back() >= parent->size() / kPageSize)) {
    return fail(ErrorCode::kCorrupt,
                "mapping the pages of a layer: their numbers do not ascend, or leave RAM");
  }
  // With a page behind its end, so that the views of two layers never touch: what lies side by side
  // in memory is of one layer.
  SPORE_ASSIGN(base::Mapping view, map_for_reading(file, own_size + kPageSize));
  std::vector<PageIndex::Entry> entries;
  entries.reserve(pages.size());
  for (std::size_t at = 0; at < pages.size(); ++at) {
    entries.push_back({pages[at], view.data() + at * kPageSize});
  }
  PageIndex overlay = parent->overlay_.with(entries);
  return std::shared_ptr<const RamImage>(
      new RamImage(std::move(file), std::move(view), std::move(parent), std::move(overlay)));
}

const std::byte* RamImage::zero_page() noexcept {
  alignas(kPageSize) static const std::array<std::byte, kPageSize> kZeros{};
  return kZeros.data();
}

std::vector<std::uint32_t> RamImage::base_pages(std::span<const std::uint32_t> pages) const {
  std::vector<std::uint32_t> found;
  std::copy_if(pages.begin(), pages.end(), std::back_inserter(found),
               [this](std::uint32_t page) { return overlay_.find(page) == nullptr; });
  return found;
}

Result<void> RamImage::ensure(std::span<const std::uint32_t> pages) const {
  return fill() == nullptr ? Result<void>() : fill()->ensure(base_pages(pages));
}

void RamImage::prefetch(std::span<const std::uint32_t> pages) const {
  if (fill() != nullptr) {
    fill()->prefetch(base_pages(pages));
  }
}

Result<void> RamImage::for_each_own_page(const FoundPage& found) const {
  if (!parent_) {
    return for_each_base_page(found);
  }
  Result<void> done;
  overlay_.for_each([&](const PageIndex::Entry& entry) {
    if (done && is_in_view(entry.bytes)) {
      done = found(entry.page, {entry.bytes, kPageSize});
    }
  });
  return done;
}

Result<void> RamImage::for_each_base_page(const FoundPage& found) const {
  const auto find = [&](std::size_t number) {
    return found(static_cast<std::uint32_t>(number), {page(number), kPageSize});
  };
  if (fill_) {
    return fill_->for_each_page(find);
  }
  const std::size_t pages = size_ / kPageSize;
  for (std::size_t next = 0; next < pages;) {
    const off_t data = ::lseek(file_.get(), static_cast<off_t>(next * kPageSize), SEEK_DATA);
    if (data < 0 && errno == ENXIO) {
      break;
    }
    const off_t end = data < 0 ? data : ::lseek(file_.get(), data, SEEK_HOLE);
    if (end < 0) {
      return fail(Error::from_errno(errno, "looking for the pages of a machine's RAM"));
    }
    const std::size_t last = std::min((static_cast<std::size_t>(end) - 1) / kPageSize, pages - 1);
    next = static_cast<std::size_t>(data) / kPageSize;
    for (; next <= last; ++next) {
      SPORE_TRY(find(next));
    }
  }
  return {};
}

void RamImage::for_each_overlay_run(const std::function<void(const Run&)>& found) const {
  Run run;
  const auto finish = [&] {
    for (const RamImage* layer = this; run.count > 0 && layer != nullptr;
         layer = layer->parent_.get()) {
      if (layer->is_in_view(run.bytes)) {
        run.fd = layer->file_.get();
        run.offset = static_cast<std::uint64_t>(run.bytes - layer->view_.data());
        found(run);
        break;
      }
    }
  };
  overlay_.for_each([&](const PageIndex::Entry& entry) {
    const bool follows = run.count > 0 && entry.page == run.first + run.count &&
                         entry.bytes == run.bytes + run.count * kPageSize;
    if (!follows) {
      finish();
      run = {entry.page, 0, entry.bytes};
    }
    ++run.count;
  });
  finish();
}

void RamImage::for_each_difference(const RamImage& other,
                                   const std::function<void(std::size_t)>& found) const {
  SPORE_CHECK(has_base_of(other));
  PageIndex::for_each_difference(overlay_, other.overlay_, found);
}

std::shared_ptr<const WorkingSet> RamImage::working_set() const {
  const std::lock_guard lock(mutex_);
  return working_set_;
}

void RamImage::record(WorkingSet set) const {
  const std::lock_guard lock(mutex_);
  if (!working_set_) {
    working_set_ = std::make_shared<const WorkingSet>(std::move(set));
  }
}

std::uint64_t RamImage::own_bytes() const {
  return allocated_bytes(file_.get());
}

std::uint64_t RamImage::resident_bytes() const {
  return own_bytes() + (parent_ ? parent_->resident_bytes() : 0);
}

}  // namespace spore::memory
