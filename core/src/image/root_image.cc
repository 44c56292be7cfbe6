// In the cache an image is <digest>.squashfs, an archive <digest>.tar; <key>.image and
// <key>.archive name the digest that a key led to.
#include "image/root_image.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>

#include "base/digest.h"
#include "image/base_system.h"
#include "image/closure.h"
#include "image/files.h"
#include "image/python.h"
#include "image/squashfs.h"
#include "image/tree_archive.h"

namespace spore::image {
namespace {

constexpr std::string_view kCacheVersion = "image-1";
constexpr std::size_t kDigestLength = 64;
constexpr std::uint64_t kMaxIndexBytes = 4096;

struct Kind {
  std::string_view index;  // suffixes of names
  std::string_view file;
  bool archive;
  Result<void> (*write)(const Tree&, int, const std::function<void(std::string_view)>&);
};
constexpr Kind kSquashfs{".image", ".squashfs", false, write_squashfs};
constexpr Kind kArchive{".archive", ".tar", true, write_archive};

// The image that the index names, if its file is there with the size it had.
std::optional<Image> look_up(const Cache& cache, const Kind& kind, const std::string& index) {
  const auto text = read_file(index, kMaxIndexBytes);
  if (!text || text->size() <= kDigestLength ||
      text->find_first_not_of("0123456789abcdef") != kDigestLength) {
    return std::nullopt;
  }
  Image image;
  image.archive = kind.archive;
  image.digest = text->substr(0, kDigestLength);
  image.bytes = std::strtoull(text->c_str() + kDigestLength, nullptr, 10);
  image.path = cache.path(fmt::format("{}{}", image.digest, kind.file));
  struct stat status {};
  if (::stat(image.path.c_str(), &status) != 0 ||
      static_cast<std::uint64_t>(status.st_size) != image.bytes) {
    return std::nullopt;
  }
  return image;
}

Result<Image> pack(const Cache& cache, const Kind& kind, const std::string& index_name,
                   const Tree& tree, const std::function<void(std::string_view)>& progress) {
  SPORE_ASSIGN(CacheFile file, CacheFile::create(cache, index_name));
  SPORE_TRY(kind.write(tree, file.fd(), progress));
  Image image;
  image.archive = kind.archive;
  image.built = true;
  SPORE_ASSIGN(image.digest, base::sha256_of_file(file.fd(), "the image"));
  struct stat status {};
  if (::fstat(file.fd(), &status) != 0) {
    return fail(Error::from_errno(errno, "read the image's size"));
  }
  image.bytes = static_cast<std::uint64_t>(status.st_size);
  image.path = cache.path(fmt::format("{}{}", image.digest, kind.file));
  SPORE_TRY(file.publish(image.path));
  SPORE_ASSIGN(CacheFile index, CacheFile::create(cache, index_name));
  SPORE_TRY(write_all(index.fd(), fmt::format("{} {}\n", image.digest, image.bytes),
                      "the image's index"));
  SPORE_TRY(index.publish(cache.path(index_name)));
  return image;
}

// What the programs and libraries among the files themselves load, as far as it can be found.
void add_what_they_load(const Tree& tree, Closure& closure) {
  constexpr mode_t kExecutable = S_IXUSR | S_IXGRP | S_IXOTH;
  for (const auto& [path, entry] : tree.entries()) {
    const bool loadable =
        (entry.status.st_mode & kExecutable) != 0 || path.find(".so") != std::string::npos;
    if (S_ISREG(entry.status.st_mode) && loadable && !entry.source.empty()) {
      closure.add_library(entry.source);
    }
  }
}

// What it takes in a file system in memory: whole pages, and at least one for each entry.
std::uint64_t bytes_of(const Tree& tree) {
  constexpr std::uint64_t kPage = 4096;
  std::uint64_t bytes = 0;
  for (const auto& [path, entry] : tree.entries()) {
    const auto size = static_cast<std::uint64_t>(entry.status.st_size);
    bytes += kPage + (S_ISREG(entry.status.st_mode) ? (size + kPage - 1) / kPage * kPage : 0);
  }
  return bytes;
}

}  // namespace

Result<Tree> collect(const ImageSpec& spec, const std::string& cache_directory) {
  Tree tree(spec.excludes, cache_directory);
  Closure closure;
  if (spec.base_system || !spec.programs.empty() || !spec.pythons.empty()) {
    SPORE_TRY(add_loader_files(tree));
  }
  for (const std::string& path : spec.paths) {
    if (!path.starts_with('/')) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("pack \"{}\": it is no absolute path", path));
    }
    SPORE_TRY(tree.add(path));
  }
  add_what_they_load(tree, closure);
  for (const std::string& python : spec.pythons) {
    SPORE_TRY(add_python(python, tree, closure));
  }
  if (spec.base_system) {
    SPORE_TRY(add_base_system(tree, closure));
  }
  for (const std::string& name : spec.programs) {
    SPORE_ASSIGN(const std::string program, find_program(name));
    SPORE_TRY(closure.add_program(program));
  }
  for (const std::string& path : closure.files()) {
    SPORE_TRY(tree.add(path));
  }
  for (const ImageMount& mount : spec.mounts) {
    SPORE_TRY(tree.mount(mount.source, mount.target));
  }
  return tree;
}

std::string key_of(const Tree& tree) {
  base::Sha256 key;
  key.field(kCacheVersion);
  for (const auto& [path, entry] : tree.entries()) {
    key.field(path);
    key.field(std::uint64_t{entry.status.st_mode});
    key.field(std::uint64_t{entry.status.st_uid});
    key.field(std::uint64_t{entry.status.st_gid});
    key.field(entry.link);
    if (entry.content) {
      key.field(*entry.content);
    } else if (!S_ISDIR(entry.status.st_mode)) {
      // A directory's own times are not in the image, and change with files that are not either.
      key.size_and_mtime(entry.status);
      key.inode_and_ctime(entry.status);
    }
  }
  return key.finish();
}

Result<Image> build_image_in(const Cache& cache, const ImageSpec& spec,
                             const std::function<void(std::string_view)>& progress) {
  SPORE_ASSIGN(const Tree tree, collect(spec, cache.directory()));
  const bool archive = spec.archive_up_to > 0 && bytes_of(tree) <= spec.archive_up_to;
  const Kind& kind = archive ? kArchive : kSquashfs;
  const std::string index_name = fmt::format("{}{}", key_of(tree), kind.index);
  const std::string index = cache.path(index_name);
  if (auto found = look_up(cache, kind, index)) {
    return std::move(*found);
  }
  SPORE_ASSIGN(const CacheLock held, cache.lock(index_name));
  if (auto found = look_up(cache, kind, index)) {
    return std::move(*found);
  }
  return pack(cache, kind, index_name, tree, progress);
}

}  // namespace spore::image

namespace spore {

Result<Image> build_image(const ImageSpec& spec,
                          const std::function<void(std::string_view)>& progress) {
  SPORE_ASSIGN(const image::Cache cache, image::Cache::open());
  return image::build_image_in(cache, spec, progress);
}

}  // namespace spore
