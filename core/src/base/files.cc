#include "base/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

namespace spore::base {

Result<UniqueFd> open_to_read(const std::string& path) {
  // O_NONBLOCK: a FIFO in the place of a file must not stop us.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, fmt::format("open {}", path)));
  }
  return fd;
}

Result<std::string> read_file(const std::string& path, std::uint64_t limit) {
  SPORE_ASSIGN(const UniqueFd fd, open_to_read(path));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return fail(Error::from_errno(errno, fmt::format("read {}", path)));
  }
  if (!S_ISREG(status.st_mode)) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("read {}: it is not a file", path));
  }
  std::string bytes;
  std::vector<char> block(256 * 1024);
  for (;;) {
    const ssize_t count = ::read(fd.get(), block.data(), block.size());
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return fail(Error::from_errno(errno, fmt::format("read {}", path)));
    }
    if (count == 0) {
      return bytes;
    }
    bytes.append(block.data(), static_cast<std::size_t>(count));
    if (bytes.size() > limit) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("read {}: it is larger than {} bytes", path, limit));
    }
  }
}

Result<std::size_t> read_at(int fd, std::span<std::byte> bytes, std::uint64_t offset,
                            std::string_view name) {
  std::size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t count = ::pread(fd, bytes.data() + filled, bytes.size() - filled,
                                  static_cast<off_t>(offset + filled));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return fail(Error::from_errno(errno, fmt::format("read {}", name)));
    }
    if (count == 0) {
      break;
    }
    filled += static_cast<std::size_t>(count);
  }
  return filled;
}

Result<std::string> read_start(int fd, std::size_t limit) {
  std::string bytes(limit, '\0');
  SPORE_ASSIGN(const std::size_t filled,
               read_at(fd, std::as_writable_bytes(std::span(bytes)), 0, "it"));
  bytes.resize(filled);
  return bytes;
}

Result<void> write_all(int fd, std::string_view bytes, std::string_view name) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return fail(Error::from_errno(errno, fmt::format("write {}", name)));
    }
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

Result<void> write_all_at(int fd, std::span<const std::byte> bytes, std::uint64_t offset,
                          std::string_view name) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return fail(Error::from_errno(errno, fmt::format("write {}", name)));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

Result<void> write_new_file(const std::string& path, std::string_view bytes, Sync sync) {
  const UniqueFd fd(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, fmt::format("create {}", path)));
  }
  SPORE_TRY(write_all(fd.get(), bytes, path));
  if (sync == Sync::kNow && ::fsync(fd.get()) != 0) {
    return fail(Error::from_errno(errno, fmt::format("write {} to disk", path)));
  }
  return {};
}

Result<void> sync_path(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) {
    return fail(Error::from_errno(errno, fmt::format("write {} to disk", path)));
  }
  return {};
}

}  // namespace spore::base
