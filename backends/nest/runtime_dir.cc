#include "nest/runtime_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

namespace spore::nest {
namespace {

// The longest name made in the directory; a Unix socket's path is bounded.
constexpr std::size_t kLongestName = sizeof("/port-00.sock");

struct flock whole_file_lock() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

Result<base::UniqueFd> open_lock_file(const std::string& path, int flags) {
  base::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, fmt::format("opening the lock file {}", path)));
  }
  return fd;
}

}  // namespace

Result<std::optional<FileLock>> FileLock::take(const std::string& path, int timeout_ms) {
  SPORE_ASSIGN(base::UniqueFd fd, open_lock_file(path, O_CREAT));
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

std::string RuntimeDir::default_path() {
  if (const char* path = std::getenv("SPORE_RUNTIME_DIR"); path != nullptr && *path != '\0') {
    return path;
  }
  if (const char* path = std::getenv("XDG_RUNTIME_DIR"); path != nullptr && *path != '\0') {
    return std::string(path) + "/spore";
  }
  return fmt::format("/tmp/spore-{}", geteuid());
}

Result<RuntimeDir> RuntimeDir::open() {
  return open_at(default_path());
}

Result<RuntimeDir> RuntimeDir::open_at(std::string path) {
  const auto attempted = fmt::format("using {} for the nest's files", path);
  if (!path.starts_with('/')) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: not an absolute path; set SPORE_RUNTIME_DIR to one", attempted));
  }
  if (path.size() + kLongestName > sizeof(sockaddr_un::sun_path)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: the path is too long for a Unix socket; set SPORE_RUNTIME_DIR to "
                            "a shorter one",
                            attempted));
  }
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail(Error::from_errno(errno, attempted)
                    .with_context("set SPORE_RUNTIME_DIR to a directory that can be made"));
  }
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) {
    return fail(Error::from_errno(errno, attempted));
  }
  if (!S_ISDIR(status.st_mode)) {
    return fail(ErrorCode::kPermissionDenied, fmt::format("{}: it is not a directory", attempted));
  }
  if (status.st_uid != geteuid()) {
    return fail(ErrorCode::kPermissionDenied,
                fmt::format("{}: it belongs to user {}, not to you; set SPORE_RUNTIME_DIR to a "
                            "directory of your own",
                            attempted, status.st_uid));
  }
  if ((status.st_mode & 0077) != 0) {
    return fail(ErrorCode::kPermissionDenied,
                fmt::format("{}: its mode {:o} lets other users in; chmod 700 it", attempted,
                            status.st_mode & 07777U));
  }
  return RuntimeDir(std::move(path));
}

std::string RuntimeDir::file(std::string_view name) const {
  return fmt::format("{}/{}", path_, name);
}

std::string RuntimeDir::port_socket(unsigned port) const {
  return file(fmt::format("port-{}.sock", port));
}

std::string RuntimeDir::port_lock(unsigned port) const {
  return file(fmt::format("port-{}.lock", port));
}

void RuntimeDir::remove_stale_files() const {
  // The locks stay: to unlink a lock file that another process has open is to split the lock.
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(path_, ignored)) {
    if (entry.path().extension() == ".sock") {
      std::filesystem::remove(entry.path(), ignored);
    }
  }
  std::filesystem::remove(state(), ignored);
}

}  // namespace spore::nest
