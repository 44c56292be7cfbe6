#include "nest/runtime_dir.h"

#include <fmt/format.h>
#include <sys/un.h>

#include <filesystem>
#include <utility>

#include "base/private_directory.h"

namespace spore::nest {
namespace {

// The longest name made in the directory; a Unix socket's path is bounded.
constexpr std::size_t kLongestName = sizeof("/port-00.sock");

}  // namespace

std::string RuntimeDir::default_path() {
  return base::runtime_path();
}

Result<RuntimeDir> RuntimeDir::open() {
  return open_at(default_path());
}

Result<RuntimeDir> RuntimeDir::open_at(std::string path) {
  const auto attempted = fmt::format("using {} for the nest's files", path);
  if (path.size() + kLongestName > sizeof(sockaddr_un::sun_path)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: the path is too long for a Unix socket; set SPORE_RUNTIME_DIR to "
                            "a shorter one",
                            attempted));
  }
  SPORE_TRY(base::make_private_directory(path, attempted));
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
