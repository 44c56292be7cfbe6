#include "snapshot/bundle.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "base/digest.h"
#include "snapshot/chunk.h"
#include "snapshot/document.h"
#include "snapshot/folder_scan.h"
#include "snapshot/tar.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "spore-bundle";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kMaxNameBytes = 64;

Error damaged(std::string_view why) {
  return not_such_a_document(kBundleFile, why);
}

// The files of a spore whose bytes follow from the list of spores.
std::vector<BundleFile> implied_files(const BundledSpore& spore, std::string_view parent_name) {
  const std::string digest_line = manifest_digest_text(spore.id);
  std::vector<BundleFile> files = {{bundled_path(spore.name, kManifestDigestFile),
                                    base::sha256_of(digest_line), digest_line.size()}};
  if (!spore.parent.empty()) {
    const std::string hint = parent_hint(spore.name, parent_name);
    files.push_back({bundled_path(spore.name, kParentFile), base::sha256_of(hint), hint.size()});
  }
  return files;
}

// Beside a spore that is the bundle itself there are only parents.
bool has_form_of_name(const BundledSpore& spore, bool with_only) {
  return spore.name == fmt::format("{}/{}", kParentsFolder, spore.id) ||
         (with_only ? spore.name == kOnlySpore : is_bundle_name(spore.name));
}

class DocumentCheck {
 public:
  explicit DocumentCheck(const BundleDocument& document) : document_(document) {}

  Result<void> run() {
    SPORE_TRY(check_spores());
    std::string_view last;
    for (const BundleFile& file : document_.files) {
      if (file.name <= last) {
        return fail(damaged("its files are not in order"));
      }
      last = file.name;
      SPORE_TRY(check_file(file));
    }
    for (const auto& [name, file] : implied_) {
      if (!std::binary_search(document_.files.begin(), document_.files.end(), file, by_name)) {
        return fail(damaged(fmt::format("{} is missing in it", name)));
      }
    }
    return {};
  }

 private:
  static bool by_name(const BundleFile& left, const BundleFile& right) {
    return left.name < right.name;
  }

  Result<void> check_spores() {
    std::map<std::string, std::string> names;  // by id
    std::string_view last;
    // Its name is before all others.
    const bool with_only = !document_.spores.empty() && document_.spores.front().name == kOnlySpore;
    for (const BundledSpore& spore : document_.spores) {
      if (spore.name <= last || !is_digest(spore.id) || !has_form_of_name(spore, with_only) ||
          !names.emplace(spore.id, spore.name).second) {
        return fail(
            damaged(fmt::format("spore {} has no name or id that it can have", folders_.size())));
      }
      last = spore.name;
      folders_.emplace(spore.name, &spore);
    }
    if (names.empty()) {
      return fail(damaged("there is no spore in it"));
    }
    for (const BundledSpore& spore : document_.spores) {
      if (!spore.parent.empty() && !names.contains(spore.parent)) {
        return fail(damaged(fmt::format("the parent of {} is missing in it", spore.name)));
      }
      for (BundleFile& file : implied_files(spore, names[spore.parent])) {
        implied_.emplace(file.name, std::move(file));
      }
    }
    return {};
  }

  [[nodiscard]] Result<void> check_file(const BundleFile& file) const {
    if (const auto found = implied_.find(file.name); found != implied_.end()) {
      return found->second == file
                 ? Result<void>()
                 : fail(damaged(fmt::format("{} is not what it has to be", file.name)));
    }
    // "<spore>/manifest.json" or "<spore>/<folder>/<digest><suffix>"
    const fs::path path(file.name);
    std::string folder = path.parent_path().string();
    const std::string name = path.filename().string();
    if (name == kManifestFile) {
      const BundledSpore* spore = find_spore(folder);
      if (spore != nullptr && file.name == bundled_path(spore->name, name) &&
          file.sha256 == spore->id && file.bytes <= kMaxManifestBytes) {
        return {};
      }
    }
    const std::string kind = fs::path(folder).filename().string();
    const BundledSpore* spore = find_spore(fs::path(folder).parent_path().string());
    if (spore == nullptr || file.name != bundled_path(spore->name, kind + "/" + name) ||
        !fits(file, kind, name)) {
      return fail(damaged("a file in it is none that a spore has, or cannot be as large"));
    }
    return {};
  }

  [[nodiscard]] const BundledSpore* find_spore(const std::string& folder) const {
    const auto found = folders_.find(folder.empty() ? std::string(kOnlySpore) : folder);
    return found == folders_.end() ? nullptr : found->second;
  }

  static bool fits(const BundleFile& file, std::string_view kind, std::string_view name) {
    if (kind == kChunksFolder) {
      return digest_in_name(name, ".zst") && is_digest(file.sha256) &&
             file.bytes <= kMaxChunkFileBytes;
    }
    if (kind == kSectionsFolder) {
      return digest_in_name(name, ".json") == file.sha256 && file.bytes <= kMaxSectionBytes;
    }
    return kind == kImagesFolder && digest_in_name(name, "") == file.sha256;
  }

  const BundleDocument& document_;
  std::map<std::string, const BundledSpore*> folders_;
  std::map<std::string, BundleFile> implied_;
};

}  // namespace

void to_json(nlohmann::json& json, const BundleDocument& document) {
  json = {{"format", kFormat},
          {"version", kVersion},
          {"spores", document.spores},
          {"files", document.files}};
}

void from_json(const nlohmann::json& json, BundleDocument& document) {
  json.at("spores").get_to(document.spores);
  json.at("files").get_to(document.files);
}

Result<BundleDocument> parse_bundle_document(std::string_view bytes) {
  SPORE_ASSIGN(auto document, from_document<BundleDocument>(bytes, kBundleFile));
  SPORE_TRY(DocumentCheck(document).run());
  return document;
}

bool is_bundle_name(std::string_view name) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return !name.empty() && name.size() <= kMaxNameBytes && name.front() != '.' &&
         name != kParentsFolder && name.find_first_not_of(kLetters) == std::string_view::npos;
}

std::string bundled_path(std::string_view spore, std::string_view file) {
  return spore == kOnlySpore ? std::string(file) : fmt::format("{}/{}", spore, file);
}

std::string parent_hint(std::string_view spore, std::string_view parent) {
  return spore == kOnlySpore ? std::string(parent)
                             : fs::path(parent).lexically_relative(fs::path(spore)).string();
}

bool is_image(const BundleFile& file) {
  return fs::path(file.name).parent_path().filename() == kImagesFolder;
}

Bundle describe_bundle(const BundleDocument& document, std::string digest,
                       std::size_t document_bytes) {
  const auto in_stream = [](std::uint64_t bytes) {
    return kTarBlockBytes + bytes + tar_padding(bytes);
  };
  Bundle bundle;
  bundle.digest = std::move(digest);
  bundle.spores = document.spores;
  bundle.files = document.files.size();
  bundle.bytes = in_stream(document_bytes) + kTarEndBytes;
  for (const BundleFile& file : document.files) {
    bundle.bytes += in_stream(file.bytes);
    if (is_image(file)) {
      bundle.image_bytes += file.bytes;
    }
  }
  return bundle;
}

}  // namespace spore::snapshot
