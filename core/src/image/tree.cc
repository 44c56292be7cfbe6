#include "image/tree.h"

#include <dirent.h>
#include <fmt/format.h>
#include <fnmatch.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <memory>
#include <utility>

namespace spore::image {
namespace {

constexpr int kMaxLinks = 40;  // as in the kernel

tl::unexpected<Error> cannot_pack(const std::string& path) {
  const int number = errno;
  return fail(Error::from_errno(number, fmt::format("pack {}", path)));
}

Result<std::string> read_link(const std::string& path) {
  std::array<char, PATH_MAX> text;
  const ssize_t size = ::readlink(path.c_str(), text.data(), text.size());
  if (size < 0) {
    return cannot_pack(path);
  }
  return std::string(text.data(), static_cast<std::size_t>(size));
}

std::string normal(const std::string& path) {
  std::string text = std::filesystem::path(path).lexically_normal().string();
  while (text.size() > 1 && text.ends_with('/')) {
    text.pop_back();
  }
  return text;
}

// Filled by the guest's own kernel, and not files on the host either.
bool belongs_to_kernel(const std::string& path) {
  for (const std::string_view directory : {"/proc", "/sys", "/dev"}) {
    if (path.starts_with(directory) &&
        (path.size() == directory.size() || path[directory.size()] == '/')) {
      return true;
    }
  }
  return false;
}

bool is_kernel_file_system(const std::string& path) {
  struct statfs status {};
  if (::statfs(path.c_str(), &status) != 0) {
    return false;
  }
  for (const auto magic :
       {PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP2_SUPER_MAGIC, DEVPTS_SUPER_MAGIC}) {
    if (status.f_type == magic) {
      return true;
    }
  }
  return false;
}

std::string join(const std::string& directory, std::string_view name) {
  return directory.ends_with('/') ? fmt::format("{}{}", directory, name)
                                  : fmt::format("{}/{}", directory, name);
}

// Where a link's text leads, as an absolute path.
std::string link_target(const std::string& link_path, const std::string& text) {
  if (text.starts_with('/')) {
    return text;
  }
  return join(std::filesystem::path(link_path).parent_path().string(), text);
}

}  // namespace

Tree::Tree(std::vector<std::string> excludes, std::string never)
    : excludes_(std::move(excludes)), never_(std::move(never)) {
  make_directory("/", 0755);
}

bool Tree::never_holds(const std::string& path) const {
  return !never_.empty() && (path == never_ || path.starts_with(never_ + '/'));
}

bool Tree::excluded(const std::string& path) const {
  if (path == never_) {
    return true;
  }
  for (const std::string& pattern : excludes_) {
    if (::fnmatch(pattern.c_str(), path.c_str(), 0) == 0) {
      return true;
    }
  }
  return false;
}

void Tree::make_directory(const std::string& path, mode_t mode) {
  TreeEntry entry;
  entry.status.st_mode = S_IFDIR | mode;
  entries_.try_emplace(path.substr(1), std::move(entry));
}

void Tree::make_file(const std::string& path, mode_t mode, std::string content) {
  TreeEntry entry;
  entry.status.st_mode = S_IFREG | mode;
  entry.status.st_size = static_cast<off_t>(content.size());
  entry.content = std::move(content);
  entries_[path.substr(1)] = std::move(entry);
}

Result<void> Tree::put(const std::string& source, const std::string& target,
                       const struct stat& status) {
  const bool file = S_ISREG(status.st_mode);
  const bool directory = S_ISDIR(status.st_mode);
  if (!file && !directory && !S_ISLNK(status.st_mode)) {
    return {};  // sockets, pipes and devices mean nothing in another machine
  }
  const std::string key = target.substr(1);
  if (const auto there = entries_.find(key);
      there != entries_.end() && S_ISDIR(there->second.status.st_mode) != directory) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("pack {}: it would be {} in the image, which is both a directory and "
                            "something else there",
                            source, target));
  }
  TreeEntry entry{source, status, {}, {}};
  if (S_ISLNK(status.st_mode)) {
    SPORE_ASSIGN(entry.link, read_link(source));
  }
  entries_[key] = std::move(entry);
  return {};
}

Result<void> Tree::add(const std::string& path) {
  return add_path(normal(path), Depth::kAll, 0);
}

Result<void> Tree::add_shallow(const std::string& path) {
  return add_path(normal(path), Depth::kAlone, 0);
}

Result<void> Tree::add_if_there(const std::string& path) {
  return ::access(path.c_str(), R_OK) == 0 ? add(path) : Result<void>{};
}

Result<void> Tree::add_path(const std::string& path, Depth depth, int links) {
  if (links > kMaxLinks) {
    errno = ELOOP;
    return cannot_pack(path);
  }
  // Component by component, as the kernel resolves it: ".." after a link is not lexical.
  std::string at = "/";
  for (std::size_t from = 1; from <= path.size();) {
    const std::size_t end = std::min(path.find('/', from), path.size());
    const std::string_view name = std::string_view(path).substr(from, end - from);
    from = end + 1;
    if (name.empty() || name == ".") {
      continue;
    }
    if (name == "..") {
      at = std::filesystem::path(at).parent_path().string();
      continue;
    }
    std::string next = join(at, name);
    if (belongs_to_kernel(next) || excluded(next)) {
      return {};
    }
    const bool last = end == path.size();
    if (!last && known_.contains(next)) {
      at = std::move(next);
      continue;
    }
    struct stat status {};
    if (::lstat(next.c_str(), &status) != 0) {
      return cannot_pack(next);
    }
    if (const auto there = entries_.find(next.substr(1));
        there == entries_.end() || !S_ISDIR(status.st_mode)) {
      SPORE_TRY(put(next, next, status));
    }
    if (S_ISLNK(status.st_mode)) {
      SPORE_ASSIGN(const std::string text, read_link(next));
      const std::string rest(last ? "" : path.substr(end));
      return add_path(link_target(next, text) + rest, depth, links + 1);
    }
    if (S_ISDIR(status.st_mode)) {
      known_.insert(next);
      if (last && depth == Depth::kAll) {
        return walk(next, next, status.st_dev);
      }
    }
    at = std::move(next);
  }
  return at == "/" && depth == Depth::kAll ? walk("/", "/", 0) : Result<void>{};
}

// All that is below a directory, which itself is in already.
Result<void> Tree::walk(const std::string& source, const std::string& target, dev_t device) {
  const bool same_place = source == target;
  if (same_place && !walked_.insert(source).second) {
    return {};
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(source.c_str()), ::closedir);
  if (!directory) {
    return cannot_pack(source);
  }
  for (;;) {
    errno = 0;
    const dirent* found = ::readdir(directory.get());
    if (found == nullptr) {
      return errno == 0 ? Result<void>{} : cannot_pack(source);
    }
    const std::string_view name = found->d_name;
    const std::string path = join(source, name);
    if (name == "." || name == ".." || excluded(path)) {
      continue;
    }
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
      return cannot_pack(path);
    }
    const std::string place = same_place ? path : join(target, name);
    SPORE_TRY(put(path, place, status));
    if (!S_ISDIR(status.st_mode)) {
      continue;
    }
    if (status.st_dev != device && is_kernel_file_system(path)) {
      continue;
    }
    SPORE_TRY(walk(path, place, status.st_dev));
  }
}

Result<void> Tree::add_following(const std::string& directory) {
  const std::string root = normal(directory);
  std::vector<std::string> pending{root};
  while (!pending.empty()) {
    const std::string base = pending.back();
    pending.pop_back();
    std::vector<std::string> targets;
    const std::string prefix = fmt::format("{}/", base.substr(1));
    for (auto at = entries_.lower_bound(prefix);
         at != entries_.end() && at->first.starts_with(prefix); ++at) {
      if (S_ISLNK(at->second.status.st_mode)) {
        targets.push_back(at->second.source);
      }
    }
    for (const std::string& link : targets) {
      std::error_code error;
      const std::string resolved = std::filesystem::canonical(link, error).string();
      // A link that leads nowhere stays one; one that leads to a directory above itself would
      // bring in everything.
      if (error || link.starts_with(fmt::format("{}/", resolved)) || resolved == "/") {
        continue;
      }
      const bool is_new =
          std::filesystem::is_directory(resolved, error) && !walked_.contains(resolved);
      SPORE_TRY(add(link));
      if (is_new) {
        pending.push_back(resolved);
      }
    }
  }
  return {};
}

// The guest path, with the links followed that the tree has on the way.
Result<std::string> Tree::resolve_in_tree(const std::string& target) {
  std::string rest = normal(target);
  std::string at = "/";
  for (int links = 0; rest.size() > 1;) {
    const std::size_t end = std::min(rest.find('/', 1), rest.size());
    const std::string name = rest.substr(1, end - 1);
    rest = rest.substr(end);
    if (name.empty() || name == "..") {
      at = name.empty() ? at : std::filesystem::path(at).parent_path().string();
      continue;
    }
    std::string next = join(at, name);
    const auto there = entries_.find(next.substr(1));
    if (there != entries_.end() && S_ISLNK(there->second.status.st_mode)) {
      if (++links > kMaxLinks) {
        errno = ELOOP;
        return cannot_pack(target);
      }
      rest = fmt::format("{}{}", link_target(next, there->second.link), rest);
      at.resize(1);
      continue;
    }
    if (there == entries_.end() && rest.size() > 1) {
      make_directory(next, 0755);
    } else if (there != entries_.end() && rest.size() > 1 &&
               !S_ISDIR(there->second.status.st_mode)) {
      errno = ENOTDIR;
      return cannot_pack(target);
    }
    at = std::move(next);
  }
  return at;
}

Result<void> Tree::mount(const std::string& source, const std::string& target) {
  if (!target.starts_with('/')) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("mount {} at \"{}\" in the image: that is no absolute path", source, target));
  }
  std::string path = normal(std::filesystem::absolute(source).string());
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    return cannot_pack(path);
  }
  SPORE_ASSIGN(const std::string place, resolve_in_tree(target));
  // `path` may be a link, whose target is what is wanted: put() only reads `status`.
  SPORE_TRY(put(path, place, status));
  return S_ISDIR(status.st_mode) ? walk(path, place, status.st_dev) : Result<void>{};
}

}  // namespace spore::image
