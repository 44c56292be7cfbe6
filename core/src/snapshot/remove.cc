// Removing a spore from disk.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <vector>

#include "snapshot/directory.h"
#include "snapshot/folder_scan.h"
#include "snapshot/staging.h"
#include "spore/disk.h"

namespace spore {
namespace {

using snapshot::SporeDirectory;

constexpr std::size_t kNamedChildren = 3;

tl::unexpected<Error> refuse(const std::string& path, std::string_view why) {
  return fail(ErrorCode::kInvalidArgument, fmt::format("removing the spore {}: {}", path, why));
}

Result<void> check_is_spore(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    return fail(Error::from_errno(errno, fmt::format("removing the spore {}", path)));
  }
  if (!S_ISDIR(status.st_mode)) {
    return refuse(path, "it is no directory: name the spore itself");
  }
  if (!snapshot::looks_like_spore(path)) {
    return refuse(path, "there is no spore's manifest.json in it; it was left alone");
  }
  return {};
}

std::vector<std::string> children_of(const std::string& path, const std::string& id) {
  std::vector<std::string> children;
  for (const std::string& other : snapshot::spores_near(path)) {
    const auto spore = SporeDirectory::open_alone(other);
    if (spore && (*spore)->manifest().parent == id) {
      children.push_back(other);
    }
  }
  return children;
}

Result<void> check_nobody_needs(const std::string& path, const std::string& id) {
  std::vector<std::string> children = children_of(path, id);
  if (children.empty()) {
    return {};
  }
  const std::size_t count = children.size();
  children.resize(std::min(count, kNamedChildren));
  return refuse(
      path,
      fmt::format("{}{} on top of it: remove {} first, or use --force", fmt::join(children, ", "),
                  count > kNamedChildren ? fmt::format(" and {} more are", count - kNamedChildren)
                                         : std::string(count == 1 ? " is" : " are"),
                  count == 1 ? "it" : "them"));
}

}  // namespace

Result<RemovedSpore> remove_spore(const std::string& path, const RemoveOptions& options) {
  RemovedSpore removed;
  removed.path = snapshot::absolute_path(path);
  SPORE_TRY(check_is_spore(removed.path));
  SPORE_ASSIGN(const auto usage, snapshot::measure_tree(removed.path));
  removed.bytes = usage.bytes;
  const auto spore = SporeDirectory::open_alone(removed.path);
  if (spore) {
    removed.id = (*spore)->id();
  }
  if (!options.force) {
    if (!spore) {
      return fail(spore.error().with_context(
          fmt::format("removing the spore {} (--force does it nevertheless)", path)));
    }
    if (!usage.strange.empty()) {
      return refuse(path, fmt::format("{} is no file of a spore: move it away, or use --force",
                                      usage.strange));
    }
    SPORE_TRY(check_nobody_needs(removed.path, removed.id));
  }
  // Whoever opens it from now on finds nothing, instead of half of it.
  const std::string staging = snapshot::staging_path(removed.path);
  if (std::rename(removed.path.c_str(), staging.c_str()) != 0) {
    return fail(Error::from_errno(errno, fmt::format("removing the spore {}", path)));
  }
  SPORE_TRY(snapshot::remove_tree(staging));
  return removed;
}

}  // namespace spore
