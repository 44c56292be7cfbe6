// SporeDirectory: a spore on disk, opened for reading, with its parents. Opening checks the
// manifests against their ids; everything else is checked when it is read. Immutable; any thread.
// Hostile bytes: every file.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "snapshot/manifest.h"
#include "snapshot/ram_section.h"
#include "spore/result.h"

namespace spore::snapshot {

inline constexpr const char* kManifestFile = "manifest.json";
inline constexpr const char* kManifestDigestFile = "manifest.sha256";
inline constexpr const char* kParentFile = "parent";
inline constexpr const char* kSectionsFolder = "sections";
inline constexpr const char* kChunksFolder = "chunks";
inline constexpr const char* kImagesFolder = "images";
inline constexpr const char* kFlatFile = "ram.img";
inline constexpr const char* kFlatProofFile = "ram.proof";
inline constexpr const char* kWorkingSetFile = "working-set.json";

// What is in kManifestDigestFile of the spore `id`, as sha256sum(1) writes and checks it.
std::string manifest_digest_text(std::string_view id);

// Of a spore that can be opened.
inline constexpr std::size_t kMaxParents = 64;

class SporeDirectory {
 public:
  static Result<std::shared_ptr<const SporeDirectory>> open(const std::string& path);
  // The same without its parents: they are not looked for, and nothing that is theirs is found.
  static Result<std::shared_ptr<const SporeDirectory>> open_alone(const std::string& path);

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const std::string& id() const noexcept { return id_; }
  [[nodiscard]] const Manifest& manifest() const noexcept { return manifest_; }
  // nullptr: none.
  [[nodiscard]] const std::shared_ptr<const SporeDirectory>& parent() const noexcept {
    return parent_;
  }

  // How many parents it has.
  [[nodiscard]] std::size_t depth() const noexcept { return parent_ ? parent_->depth() + 1 : 0; }

  [[nodiscard]] const SectionRef& section_ref(std::string_view name) const {
    return manifest_.sections.at(std::string(name));
  }
  // The bytes of a section, which are what the manifest says.
  [[nodiscard]] Result<std::string> section(std::string_view name) const;
  // A ram section by its digest: this spore's, or one below it.
  [[nodiscard]] Result<RamSection> ram_section(const std::string& sha256) const;
  [[nodiscard]] Result<RamSection> ram_section() const {
    return ram_section(section_ref(kRamSection).sha256);
  }
  // Which of this spore and its parents wrote the ram section `sha256`; nullptr: none.
  [[nodiscard]] const SporeDirectory* owner_of_ram(std::string_view sha256) const;

  // A file, of this spore or the nearest of its parents that has it; kNotFound names `what`.
  [[nodiscard]] Result<std::string> find(std::string_view folder, std::string_view name,
                                         std::string_view what) const;
  // Where a root image is: in a spore, or where it was at the capture. Its bytes are not checked.
  [[nodiscard]] Result<std::string> find_image(const ImageRef& image) const;
  // "chunk 17 (<digest>) of <path>", for Errors.
  [[nodiscard]] std::string describe(const ChunkRef& chunk) const;

 private:
  SporeDirectory(std::string path, std::string id, Manifest manifest)
      : path_(std::move(path)), id_(std::move(id)), manifest_(std::move(manifest)) {}
  [[nodiscard]] Result<std::string> read_section(const std::string& sha256,
                                                 const std::string& what) const;
  static Result<std::shared_ptr<SporeDirectory>> open_one(const std::string& path);
  Result<void> open_parent(std::size_t depth);

  const std::string path_;  // absolute
  const std::string id_;
  const Manifest manifest_;
  std::shared_ptr<const SporeDirectory> parent_;
};

}  // namespace spore::snapshot
