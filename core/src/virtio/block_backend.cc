#include "virtio/block_backend.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "virtio/block_registers.h"

namespace spore::virtio {
namespace {

constexpr std::size_t kBatch = 64;  // pieces per system call

Result<std::uint64_t> size_of(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    return fail(Error::from_errno(errno, fmt::format("finding the size of the disk {}", path)));
  }
  if (S_ISREG(status.st_mode)) {
    return static_cast<std::uint64_t>(status.st_size);
  }
  std::uint64_t size = 0;
  if (!S_ISBLK(status.st_mode) || ::ioctl(fd, BLKGETSIZE64, &size) != 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("using {} as a disk: it is neither a regular file nor a block device; "
                            "give a disk image",
                            path));
  }
  return size;
}

// The transfer of a whole list of pieces, whatever the kernel does at a time. `call` is
// preadv/pwritev; answers the number of bytes done before the end of the file, or -1.
template <typename Call>
std::int64_t transfer(std::span<const std::span<std::byte>> pieces, std::uint64_t offset,
                      Call&& call) {
  std::int64_t done = 0;
  std::size_t index = 0;
  std::size_t skip = 0;  // bytes of pieces[index] that are done
  while (index < pieces.size()) {
    std::array<iovec, kBatch> vectors;
    std::size_t count = 0;
    for (std::size_t i = index; i < pieces.size() && count < kBatch; ++i, ++count) {
      const auto rest = pieces[i].subspan(i == index ? skip : 0);
      vectors[count] = {rest.data(), rest.size()};
    }
    const ssize_t moved = call(vectors.data(), static_cast<int>(count),
                               static_cast<off_t>(offset + static_cast<std::uint64_t>(done)));
    if (moved < 0 && errno == EINTR) {
      continue;
    }
    if (moved <= 0) {
      return moved < 0 ? -1 : done;
    }
    done += moved;
    for (auto left = static_cast<std::size_t>(moved); left > 0;) {
      const std::size_t step = std::min(left, pieces[index].size() - skip);
      left -= step;
      skip += step;
      if (skip == pieces[index].size()) {
        ++index;
        skip = 0;
      }
    }
  }
  return done;
}

std::uint64_t total_size(std::span<const std::span<std::byte>> pieces) {
  std::uint64_t size = 0;
  for (const auto piece : pieces) {
    size += piece.size();
  }
  return size;
}

// Zeroes all but the first `keep` bytes.
void zero_tail(std::span<const std::span<std::byte>> pieces, std::uint64_t keep) {
  for (const auto piece : pieces) {
    const std::size_t kept = std::min<std::uint64_t>(keep, piece.size());
    std::memset(piece.data() + kept, 0, piece.size() - kept);
    keep -= kept;
  }
}

}  // namespace

Result<std::unique_ptr<FileBlockBackend>> FileBlockBackend::open(const std::string& path,
                                                                 bool writable) {
  base::UniqueFd fd(::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, fmt::format("opening the disk {}", path)));
  }
  SPORE_ASSIGN(const std::uint64_t size, size_of(fd.get(), path));
  if (writable && size % kSectorSize != 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("using {} as a writable disk: its size, {} bytes, is not a multiple of "
                            "{}; extend it (truncate -s %{})",
                            path, size, kSectorSize, kSectorSize));
  }
  return std::unique_ptr<FileBlockBackend>(
      new FileBlockBackend(std::move(fd), path, size, writable));
}

FileBlockBackend::FileBlockBackend(base::UniqueFd fd, std::string path, std::uint64_t file_size,
                                   bool writable)
    : fd_(std::move(fd)),
      path_(std::move(path)),
      file_size_(file_size),
      size_((file_size + kSectorSize - 1) / kSectorSize * kSectorSize),
      writable_(writable) {}

Result<void> FileBlockBackend::read(std::uint64_t offset,
                                    std::span<const std::span<std::byte>> into) {
  const std::int64_t done =
      transfer(into, offset, [this](const iovec* vectors, int count, off_t at) {
        return ::preadv(fd_.get(), vectors, count, at);
      });
  if (done < 0) {
    return fail(Error::from_errno(errno, fmt::format("reading the disk {}", path_)));
  }
  const std::uint64_t end = offset + static_cast<std::uint64_t>(done);
  if (static_cast<std::uint64_t>(done) == total_size(into)) {
    return {};
  }
  if (end < file_size_) {
    return fail(
        ErrorCode::kCorrupt,
        fmt::format("reading the disk {}: it ends at byte {}, and was {} bytes long when it "
                    "was opened; do not change disks in use",
                    path_, end, file_size_));
  }
  zero_tail(into, static_cast<std::uint64_t>(done));
  return {};
}

Result<void> FileBlockBackend::write(std::uint64_t offset,
                                     std::span<const std::span<std::byte>> from) {
  const std::int64_t done =
      transfer(from, offset, [this](const iovec* vectors, int count, off_t at) {
        return ::pwritev(fd_.get(), vectors, count, at);
      });
  if (done < 0 || static_cast<std::uint64_t>(done) != total_size(from)) {
    return fail(
        Error::from_errno(done < 0 ? errno : EIO, fmt::format("writing to the disk {}", path_)));
  }
  return {};
}

Result<void> FileBlockBackend::flush() {
  if (::fdatasync(fd_.get()) != 0) {
    return fail(Error::from_errno(errno, fmt::format("flushing the disk {}", path_)));
  }
  return {};
}

}  // namespace spore::virtio
