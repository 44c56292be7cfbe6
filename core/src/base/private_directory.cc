#include "base/private_directory.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

namespace spore::base {

std::string runtime_path() {
  if (const char* path = std::getenv("SPORE_RUNTIME_DIR"); path != nullptr && *path != '\0') {
    return path;
  }
  if (const char* path = std::getenv("XDG_RUNTIME_DIR"); path != nullptr && *path != '\0') {
    return std::string(path) + "/spore";
  }
  return fmt::format("/tmp/spore-{}", geteuid());
}

Result<void> make_private_directory(const std::string& path, std::string_view attempted) {
  if (!path.starts_with('/')) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: not an absolute path; set SPORE_RUNTIME_DIR to one", attempted));
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
  return {};
}

}  // namespace spore::base
