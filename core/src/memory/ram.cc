#include "memory/ram.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include <cerrno>
#include <numeric>
#include <utility>

#include "base/check.h"
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

Result<base::UniqueFd> create_file(std::uint64_t size) {
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

Result<std::shared_ptr<const RamImage>> seal(base::UniqueFd file, std::uint64_t size) {
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (::fcntl(file.get(), F_ADD_SEALS, kSeals) != 0) {
    return fail(Error::from_errno(errno, "sealing a captured machine's RAM"));
  }
  return std::make_shared<const RamImage>(std::move(file), size);
}

Result<void> write_all(int fd, std::span<const std::byte> bytes, std::size_t offset) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
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

constexpr int kReadWrite = PROT_READ | PROT_WRITE;
// Where the host gives huge pages to files in memory, guest and host addresses must agree modulo
// their size.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

std::uint64_t RamImage::resident_bytes() const {
  return allocated_bytes(fd());
}

Ram::Ram(base::UniqueFd file, base::Mapping mapping, const std::vector<RamPiece>& layout,
         std::shared_ptr<const RamImage> image)
    : file_(std::move(file)),
      mapping_(std::move(mapping)),
      memory_(regions_of(mapping_, layout)),
      image_(std::move(image)) {}

Result<std::unique_ptr<Ram>> Ram::create(const std::vector<RamPiece>& layout) {
  const std::uint64_t size = total_size(layout);
  SPORE_ASSIGN(base::UniqueFd file, create_file(size));
  SPORE_ASSIGN(base::Mapping mapping, base::Mapping::create_aligned(
                                          size, kHugePage, kReadWrite, MAP_SHARED | MAP_NORESERVE,
                                          file.get(), "mapping a machine's RAM"));
  ::madvise(mapping.data(), size, MADV_HUGEPAGE);  // a wish: most hosts do not grant it
  return std::unique_ptr<Ram>(new Ram(std::move(file), std::move(mapping), layout, nullptr));
}

Result<std::unique_ptr<Ram>> Ram::fork(std::shared_ptr<const RamImage> image,
                                       const std::vector<RamPiece>& layout) {
  SPORE_CHECK(total_size(layout) == image->size());
  SPORE_ASSIGN(base::Mapping mapping,
               base::Mapping::create_aligned(image->size(), kHugePage, kReadWrite,
                                             MAP_PRIVATE | MAP_NORESERVE, image->fd(),
                                             "mapping a spore's RAM"));
  return std::unique_ptr<Ram>(
      new Ram(base::UniqueFd(), std::move(mapping), layout, std::move(image)));
}

Result<std::shared_ptr<const RamImage>> Ram::capture() {
  if (file_.valid()) {
    return seal_own_file();
  }
  SPORE_ASSIGN(auto image, merge_into_new_file());
  SPORE_TRY(map_image(image));
  return image;
}

Result<std::shared_ptr<const RamImage>> Ram::seal_own_file() {
  // The seal against writes needs the shared mapping to be gone, so the private one comes first.
  auto unsealed =
      std::make_shared<const RamImage>(base::UniqueFd(::dup(file_.get())), mapping_.size());
  SPORE_TRY(map_image(unsealed));
  SPORE_ASSIGN(image_, seal(std::move(file_), mapping_.size()));
  return image_;
}

Result<std::shared_ptr<const RamImage>> Ram::merge_into_new_file() const {
  SPORE_ASSIGN(base::UniqueFd file, create_file(mapping_.size()));
  // All that the image holds, as this machine sees it, and then its private pages in holes of it.
  off_t start = 0;
  while ((start = ::lseek(image_->fd(), start, SEEK_DATA)) >= 0) {
    const off_t end = ::lseek(image_->fd(), start, SEEK_HOLE);
    const auto extent = mapping_.bytes().subspan(static_cast<std::size_t>(start),
                                                 static_cast<std::size_t>(end - start));
    SPORE_TRY(write_all(file.get(), extent, static_cast<std::size_t>(start)));
    start = end;
  }
  Result<void> written;
  SPORE_TRY(for_each_private_run(mapping_.bytes(), [&](std::size_t offset, std::size_t size) {
    if (written) {
      written = write_all(file.get(), mapping_.bytes().subspan(offset, size), offset);
    }
  }));
  SPORE_TRY(std::move(written));
  return seal(std::move(file), mapping_.size());
}

Result<void> Ram::map_image(std::shared_ptr<const RamImage> image) {
  void* at = ::mmap(mapping_.data(), mapping_.size(), kReadWrite,
                    MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, image->fd(), 0);
  if (at == MAP_FAILED) {
    return fail(Error::from_errno(errno, "mapping a captured machine's RAM privately"));
  }
  image_ = std::move(image);
  return {};
}

Result<std::uint64_t> Ram::private_bytes() const {
  if (file_.valid()) {
    return allocated_bytes(file_.get());
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
