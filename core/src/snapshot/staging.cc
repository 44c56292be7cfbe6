#include "snapshot/staging.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/check.h"
#include "base/files.h"
#include "base/hex.h"

namespace spore::snapshot {
namespace fs = std::filesystem;

std::string absolute_path(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error).lexically_normal();
  return (absolute.has_filename() ? absolute : absolute.parent_path()).string();
}

bool is_there(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

std::string staging_path(const std::string& path) {
  std::uint64_t random = 0;
  SPORE_CHECK(::getrandom(&random, sizeof(random), 0) == sizeof(random));
  const fs::path final_path(path);
  return (final_path.parent_path() /
          fmt::format(".{}.{:016x}.tmp", final_path.filename().string(), random))
      .string();
}

Result<void> rename_new(const std::string& staging, const std::string& path) {
  // Plain rename() refuses to replace a directory that is not empty, and not every file system that
  // a spore may lie on knows RENAME_NOREPLACE; files and empty directories it would replace.
  const bool taken = is_there(path);
  if (!taken && ::rename(staging.c_str(), path.c_str()) == 0) {
    return base::sync_path(fs::path(path).parent_path().string());
  }
  if (taken || errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("writing {}: it is there already: remove it, or choose another name", path));
  }
  return fail(Error::from_errno(errno, fmt::format("renaming {} to {}", staging, path)));
}

bool is_staging_name(std::string_view file_name) {
  constexpr std::string_view kSuffix = ".tmp";
  constexpr std::size_t kDigits = 16;
  constexpr std::size_t kTail = 1 + kDigits + kSuffix.size();  // ".<digits>.tmp"
  if (file_name.size() < 2 + kTail || !file_name.starts_with('.') ||
      !file_name.ends_with(kSuffix)) {
    return false;
  }
  const std::string_view tail = file_name.substr(file_name.size() - kTail);
  return tail.front() == '.' && base::is_hex(tail.substr(1, kDigits));
}

Result<Staging> Staging::create(const std::string& final_path, std::string_view what) {
  const std::string absolute = absolute_path(final_path);
  if (is_there(absolute)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} into {}: it is there already: remove it, or choose another name",
                            what, final_path));
  }
  Staging staging(absolute, staging_path(absolute));
  if (::mkdir(staging.staging_.c_str(), 0755) != 0) {
    const int error = errno;
    const std::string attempted =
        fmt::format("{} into {}: making the directory {}", what, final_path, staging.staging_);
    staging.staging_.clear();
    return fail(Error::from_errno(error, attempted));
  }
  return staging;
}

Staging::Staging(Staging&& other) noexcept
    : final_path_(std::move(other.final_path_)), staging_(std::exchange(other.staging_, {})) {}

Staging::~Staging() {
  if (!staging_.empty()) {
    std::error_code ignored;
    fs::remove_all(staging_, ignored);
  }
}

Result<void> Staging::sync() {
  const base::UniqueFd fd(::open(staging_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::syncfs(fd.get()) != 0) {
    return fail(Error::from_errno(errno, fmt::format("write {} to disk", staging_)));
  }
  return {};
}

Result<void> Staging::publish() {
  SPORE_TRY(rename_new(staging_, final_path_));
  staging_.clear();
  return {};
}

}  // namespace spore::snapshot
