#include "base/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <thread>

namespace spore::base {
namespace {

struct flock whole_file_lock() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

Result<UniqueFd> open_lock_file(const std::string& path, int flags) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, fmt::format("opening the lock file {}", path)));
  }
  return fd;
}

}  // namespace

Result<std::optional<FileLock>> FileLock::take(const std::string& path, int timeout_ms) {
  SPORE_ASSIGN(UniqueFd fd, open_lock_file(path, O_CREAT));
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    auto lock = whole_file_lock();
    if (fcntl(fd.get(), F_OFD_SETLK, &lock) == 0) {
      return FileLock(std::move(fd));
    }
    if (errno != EAGAIN && errno != EACCES && errno != EINTR) {
      return fail(Error::from_errno(errno, fmt::format("locking {}", path)));
    }
    if (Clock::now() >= deadline) {
      return std::optional<FileLock>();
    }
    // A wait in the kernel could not be bounded.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

Result<std::optional<FileLock>> FileLock::share(const std::string& path) {
  SPORE_ASSIGN(UniqueFd fd, open_lock_file(path, 0));
  auto lock = whole_file_lock();
  lock.l_type = F_RDLCK;
  if (fcntl(fd.get(), F_OFD_SETLK, &lock) == 0) {
    return FileLock(std::move(fd));
  }
  if (errno != EAGAIN && errno != EACCES) {
    return fail(Error::from_errno(errno, fmt::format("locking {}", path)));
  }
  return std::optional<FileLock>();
}

Result<bool> FileLock::is_held(const std::string& path) {
  const auto fd = open_lock_file(path, 0);
  if (!fd) {
    if (fd.error().code() == ErrorCode::kNotFound) {
      return false;
    }
    return fail(fd.error());
  }
  auto lock = whole_file_lock();
  if (fcntl(fd->get(), F_OFD_GETLK, &lock) != 0) {
    return fail(Error::from_errno(errno, fmt::format("looking at the lock {}", path)));
  }
  return lock.l_type != F_UNLCK;
}

}  // namespace spore::base
