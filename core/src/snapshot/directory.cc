#include "snapshot/directory.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/digest.h"
#include "base/files.h"
#include "snapshot/document.h"
#include "snapshot/staging.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxPathBytes = 4096;

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

}  // namespace

std::string manifest_digest_text(std::string_view id) {
  return fmt::format("{}  {}\n", id, kManifestFile);
}

Result<std::shared_ptr<const SporeDirectory>> SporeDirectory::open(const std::string& path) {
  SPORE_ASSIGN(std::shared_ptr<SporeDirectory> spore, open_one(path));
  SPORE_TRY(spore->open_parent(0));
  return std::shared_ptr<const SporeDirectory>(std::move(spore));
}

Result<std::shared_ptr<const SporeDirectory>> SporeDirectory::open_alone(const std::string& path) {
  SPORE_ASSIGN(std::shared_ptr<SporeDirectory> spore, open_one(path));
  return std::shared_ptr<const SporeDirectory>(std::move(spore));
}

Result<std::shared_ptr<SporeDirectory>> SporeDirectory::open_one(const std::string& path) {
  const std::string absolute = absolute_path(path);
  const std::string manifest_path = fmt::format("{}/{}", absolute, kManifestFile);
  const std::string digest_path = fmt::format("{}/{}", absolute, kManifestDigestFile);
  if (!exists(manifest_path)) {
    return fail(ErrorCode::kNotFound,
                fmt::format("opening the spore {}: {}", path,
                            exists(absolute) ? "there is no manifest.json in it; it is no spore"
                                             : "there is no such directory"));
  }
  SPORE_ASSIGN(const std::string bytes, base::read_file(manifest_path, kMaxManifestBytes));
  SPORE_ASSIGN(const std::string named, base::read_file(digest_path, kMaxPathBytes));
  std::string id = base::sha256_of(bytes);
  if (named != manifest_digest_text(id)) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("opening the spore {}: {} is not what {} says: one of them was changed",
                            path, kManifestFile, kManifestDigestFile));
  }
  SPORE_ASSIGN(Manifest manifest, parse_manifest(bytes, manifest_path));
  return std::shared_ptr<SporeDirectory>(
      new SporeDirectory(absolute, std::move(id), std::move(manifest)));
}

Result<void> SporeDirectory::open_parent(std::size_t depth) {
  if (manifest_.parent.empty()) {
    return {};
  }
  if (depth == kMaxParents) {
    return fail(
        ErrorCode::kCorrupt,
        fmt::format("opening the spore {}: it has more than {} parents", path_, kMaxParents));
  }
  const auto hint = base::read_file(fmt::format("{}/{}", path_, kParentFile), kMaxPathBytes);
  if (!hint) {
    return fail(hint.error().with_context(fmt::format("finding the parent of {}", path_)));
  }
  if (hint->empty() || std::any_of(hint->begin(), hint->end(), [](char c) {
        return static_cast<unsigned char>(c) < ' ' || c == '\x7f';
      })) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("finding the parent of {}: {}/{} names no directory", path_, path_,
                            kParentFile));
  }
  // Relative to the spore, so that the two can be moved together. What ".." leads to is for the
  // file system to say: the spore may have been opened by way of a symbolic link.
  std::error_code error;
  const std::string where = fs::weakly_canonical(fs::path(path_) / *hint, error).string();
  if (error) {
    return fail(Error::from_errno(error.value(), fmt::format("finding the parent of {}", path_)));
  }
  auto parent = open_one(where);
  if (!parent) {
    return fail(parent.error().with_context(
        fmt::format("the spore {} is on top of {}", path_, manifest_.parent.substr(0, 12))));
  }
  if ((*parent)->id_ != manifest_.parent) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("opening the spore {}: its parent is {}, but {} is {}: another spore "
                            "took its place",
                            path_, manifest_.parent, where, (*parent)->id_));
  }
  SPORE_TRY((*parent)->open_parent(depth + 1));
  parent_ = std::move(*parent);
  return {};
}

Result<std::string> SporeDirectory::section(std::string_view name) const {
  const SectionRef& ref = section_ref(name);
  return read_section(ref.sha256, fmt::format("section {} of {}", name, path_));
}

Result<std::string> SporeDirectory::read_section(const std::string& sha256,
                                                 const std::string& what) const {
  SPORE_ASSIGN(const std::string path, find(kSectionsFolder, sha256 + ".json", what));
  SPORE_ASSIGN(std::string bytes, base::read_file(path, kMaxSectionBytes));
  if (base::sha256_of(bytes) != sha256) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("reading {} ({}): its bytes are not what the manifest says: take the "
                            "spore from where it came again",
                            what, path));
  }
  return bytes;
}

Result<RamSection> SporeDirectory::ram_section(const std::string& sha256) const {
  const std::string what = fmt::format("section {} of {}", kRamSection, path_);
  SPORE_ASSIGN(const std::string bytes, read_section(sha256, what));
  return parse_ram_section(bytes, manifest_.platform.memory_bytes, what);
}

const SporeDirectory* SporeDirectory::owner_of_ram(std::string_view sha256) const {
  const SporeDirectory* owner = nullptr;
  for (const SporeDirectory* spore = this; spore != nullptr; spore = spore->parent_.get()) {
    if (spore->section_ref(kRamSection).sha256 == sha256) {
      owner = spore;  // the last one: those above it are forks of it
    }
  }
  return owner;
}

Result<std::string> SporeDirectory::find(std::string_view folder, std::string_view name,
                                         std::string_view what) const {
  for (const SporeDirectory* spore = this; spore != nullptr; spore = spore->parent_.get()) {
    std::string path = fmt::format("{}/{}/{}", spore->path_, folder, name);
    if (exists(path)) {
      return path;
    }
  }
  return fail(ErrorCode::kNotFound,
              fmt::format("reading {}: there is no {}/{} in {}{}", what, folder, name, path_,
                          parent_ ? " or its parents" : ""));
}

Result<std::string> SporeDirectory::find_image(const ImageRef& image) const {
  for (const SporeDirectory* spore = this; spore != nullptr; spore = spore->parent_.get()) {
    std::string path = fmt::format("{}/{}/{}", spore->path_, kImagesFolder, image.sha256);
    if (exists(path)) {
      return path;
    }
  }
  if (!image.name.empty() && exists(image.name)) {
    return image.name;
  }
  return fail(
      ErrorCode::kNotFound,
      fmt::format("opening the spore {}: its root image {} (sha256 {}) is missing: bring it "
                  "back there, or take the spore from a bundle with its images",
                  path_, image.name, image.sha256));
}

std::string SporeDirectory::describe(const ChunkRef& chunk) const {
  return fmt::format("chunk {} ({}) of {}", chunk.chunk, chunk.sha256, path_);
}

}  // namespace spore::snapshot
