#include "memory/ram_image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "base/check.h"

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

Result<void> write_all(const base::UniqueFd& file, std::span<const std::byte> bytes,
                       std::size_t offset) {
  while (!bytes.empty()) {
    const ssize_t wrote =
        ::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (wrote < 0) {
      if (errno == EINTR) {
        continue;
      }
      return fail(Error::from_errno(errno, "copying a machine's RAM"));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
    offset += static_cast<std::size_t>(wrote);
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

Result<base::UniqueFd> create_memory_file(std::uint64_t size) {
  base::UniqueFd file(::memfd_create("spore-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.valid()) {
    return fail(Error::from_errno(errno, "creating a machine's RAM"));
  }
  if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) {
    return fail(Error::from_errno(errno, fmt::format("sizing a machine's RAM to {} bytes", size)));
  }
  return file;
}

std::uint64_t allocated_bytes(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * 512 : 0;
}

RamImage::RamImage(base::UniqueFd file, base::Mapping view, std::uint64_t size,
                   std::shared_ptr<const RamImage> parent, PageIndex overlay)
    : file_(std::move(file)),
      view_(std::move(view)),
      size_(size),
      parent_(std::move(parent)),
      base_(parent_ ? parent_->base_ : this),
      overlay_(std::move(overlay)) {}

Result<std::shared_ptr<const RamImage>> RamImage::flat(base::UniqueFd file, std::uint64_t size) {
  SPORE_TRY(seal(file));
  SPORE_ASSIGN(base::Mapping view, map_for_reading(file, size));
  return std::shared_ptr<const RamImage>(
      new RamImage(std::move(file), std::move(view), size, nullptr, PageIndex(size / kPageSize)));
}

Result<std::shared_ptr<const RamImage>> RamImage::layer(std::shared_ptr<const RamImage> parent,
                                                        std::span<const std::uint32_t> pages,
                                                        std::span<const std::byte> ram) {
  SPORE_CHECK(ram.size() == parent->size());
  const std::uint64_t own_size = pages.size() * kPageSize;
  SPORE_ASSIGN(base::UniqueFd file, create_memory_file(own_size));
  for (std::size_t at = 0; at < pages.size();) {
    const std::size_t count = run_length(pages, at);
    SPORE_TRY(
        write_all(file, ram.subspan(pages[at] * kPageSize, count * kPageSize), at * kPageSize));
    at += count;
  }
  SPORE_TRY(seal(file));
  // With a page behind its end, so that the views of two layers never touch: what lies side by side
  // in memory is of one layer.
  SPORE_ASSIGN(base::Mapping view, map_for_reading(file, own_size + kPageSize));
  std::vector<PageIndex::Entry> entries;
  entries.reserve(pages.size());
  for (std::size_t at = 0; at < pages.size(); ++at) {
    entries.push_back({pages[at], view.data() + at * kPageSize});
  }
  const std::uint64_t size = parent->size();
  PageIndex overlay = parent->overlay_.with(entries);
  return std::shared_ptr<const RamImage>(
      new RamImage(std::move(file), std::move(view), size, std::move(parent), std::move(overlay)));
}

void RamImage::for_each_overlay_run(const std::function<void(const Run&)>& found) const {
  Run run;
  const auto finish = [&] {
    for (const RamImage* layer = this; run.count > 0 && layer != nullptr;
         layer = layer->parent_.get()) {
      const auto view = layer->view_.bytes();
      if (run.bytes >= view.data() && run.bytes < view.data() + view.size()) {
        run.fd = layer->file_.get();
        run.offset = static_cast<std::uint64_t>(run.bytes - view.data());
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
