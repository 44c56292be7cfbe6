#include "image/cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/digest.h"

namespace spore::image {
namespace {

constexpr std::string_view kTemporarySuffix = ".tmp";

Result<std::string> find_directory() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (auto chosen = variable("SPORE_CACHE_DIR"); !chosen.empty()) {
    return std::filesystem::absolute(chosen).string();
  }
  // The XDG specification says to ignore a path that is not absolute.
  if (auto xdg = variable("XDG_CACHE_HOME"); xdg.starts_with('/')) {
    return xdg + "/spore";
  }
  if (auto home = variable("HOME"); home.starts_with('/')) {
    return home + "/.cache/spore";
  }
  return fail(ErrorCode::kInvalidArgument,
              "find the cache directory: HOME is not set; set SPORE_CACHE_DIR to a directory");
}

Result<void> make_directories(const std::string& directory) {
  std::string::size_type slash = 0;
  do {
    slash = directory.find('/', slash + 1);
    const std::string part = directory.substr(0, slash);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST && ::access(part.c_str(), F_OK) != 0) {
      return fail(Error::from_errno(
          errno,
          fmt::format("make the cache directory {} (SPORE_CACHE_DIR chooses another)", directory)));
    }
  } while (slash != std::string::npos);
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("use {} as the cache directory: it is not a directory; set "
                            "SPORE_CACHE_DIR to one",
                            directory));
  }
  return {};
}

// The one byte of the lock file that stands for a name. Two names that meet wait for each other
// without need, which is harmless.
struct flock range_of(std::string_view name) {
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(std::stoull(base::sha256_of(name).substr(0, 12), nullptr, 16));
  range.l_len = 1;
  return range;
}

}  // namespace

Result<CacheFile> CacheFile::create(const Cache& cache, std::string name) {
  base::UniqueFd fd(::open(cache.directory().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0644));
  if (fd.valid()) {
    return CacheFile(std::move(fd), cache.path(name) + std::string(kTemporarySuffix), false);
  }
  if (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT || errno == EINVAL) {
    return create_named(cache, std::move(name));
  }
  return fail(Error::from_errno(errno, fmt::format("make a file in {}", cache.directory())));
}

Result<CacheFile> CacheFile::create_named(const Cache& cache, std::string name) {
  std::string path = cache.path(name) + std::string(kTemporarySuffix);
  base::UniqueFd fd(::open(path.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0644));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, fmt::format("make {}", path)));
  }
  return CacheFile(std::move(fd), std::move(path), true);
}

CacheFile::CacheFile(CacheFile&& other) noexcept
    : fd_(std::move(other.fd_)),
      temporary_path_(std::move(other.temporary_path_)),
      named_(std::exchange(other.named_, false)) {}

CacheFile::~CacheFile() {
  if (named_) {
    ::unlink(temporary_path_.c_str());
  }
}

Result<void> CacheFile::publish(const std::string& final_path) {
  const auto failed = [&] {
    return fail(Error::from_errno(errno, fmt::format("store {}", final_path)));
  };
  // Without this a power failure could leave the name with no content behind it, for ever a "hit".
  if (::fdatasync(fd_.get()) != 0) {
    return failed();
  }
  if (!named_) {
    ::unlink(temporary_path_.c_str());
    const std::string self = fmt::format("/proc/self/fd/{}", fd_.get());
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, temporary_path_.c_str(), AT_SYMLINK_FOLLOW) !=
        0) {
      return failed();
    }
    named_ = true;
  }
  if (::rename(temporary_path_.c_str(), final_path.c_str()) != 0) {
    return failed();
  }
  named_ = false;
  return {};
}

Result<Cache> Cache::open() {
  SPORE_ASSIGN(std::string directory, find_directory());
  return open_at(std::move(directory));
}

Result<Cache> Cache::open_at(std::string directory) {
  SPORE_TRY(make_directories(directory));
  return Cache(std::move(directory));
}

std::string Cache::path(std::string_view name) const {
  return fmt::format("{}/{}", directory_, name);
}

Result<CacheLock> Cache::lock(std::string_view name) const {
  const std::string lock_path = path("lock");
  base::UniqueFd fd(::open(lock_path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  if (!fd.valid()) {
    return fail(Error::from_errno(
        errno, fmt::format("open {} (SPORE_CACHE_DIR chooses another directory)", lock_path)));
  }
  struct flock range = range_of(name);
  while (::fcntl(fd.get(), F_OFD_SETLKW, &range) != 0) {
    if (errno != EINTR) {
      return fail(Error::from_errno(errno, fmt::format("lock {}", lock_path)));
    }
  }
  remove_stale(name);
  return CacheLock(std::move(fd));
}

void Cache::remove_stale(std::string_view own_name) const {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, ignored)) {
    const std::string file = entry.path().filename().string();
    if (!file.ends_with(kTemporarySuffix)) {
      continue;
    }
    const std::string owner = file.substr(0, file.size() - kTemporarySuffix.size());
    if (owner == own_name) {
      ::unlink(entry.path().c_str());
      continue;
    }
    // Whoever makes the file holds the lock: if it can be had, its maker is dead.
    struct flock range = range_of(owner);
    base::UniqueFd other(::open(path("lock").c_str(), O_RDWR | O_CLOEXEC));
    if (other.valid() && ::fcntl(other.get(), F_OFD_SETLK, &range) == 0) {
      ::unlink(entry.path().c_str());
    }
  }
}

Result<std::string> Cache::get(const std::string& name,
                               const std::function<Result<void>(int fd)>& build) const {
  std::string final_path = path(name);
  if (::access(final_path.c_str(), F_OK) == 0) {
    return final_path;
  }
  SPORE_ASSIGN(const CacheLock held, lock(name));
  if (::access(final_path.c_str(), F_OK) == 0) {
    return final_path;
  }
  SPORE_ASSIGN(CacheFile file, CacheFile::create(*this, name));
  SPORE_TRY(build(file.fd()));
  SPORE_TRY(file.publish(final_path));
  return final_path;
}

}  // namespace spore::image
