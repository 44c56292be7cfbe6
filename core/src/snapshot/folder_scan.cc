#include "snapshot/folder_scan.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include "base/files.h"
#include "snapshot/bundle.h"
#include "snapshot/directory.h"
#include "snapshot/document.h"
#include "snapshot/staging.h"
#include "snapshot/tar.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;

bool is_of_a_spore(std::string_view file_name) {
  constexpr std::array kNames = {kManifestFile, kManifestDigestFile, kParentFile,
                                 kFlatFile,     kFlatProofFile,      kWorkingSetFile};
  return std::find(kNames.begin(), kNames.end(), file_name) != kNames.end() ||
         digest_in_name(file_name, ".json") || digest_in_name(file_name, ".zst") ||
         digest_in_name(file_name, "");
}

// A bundle that was being written: it starts as each does, or has nothing yet.
bool starts_as_bundle(const std::string& path) {
  const auto fd = base::open_to_read(path);
  const auto start = fd ? base::read_start(fd->get(), kTarBlockBytes) : fail(fd.error());
  return start && (start->empty() || tar_size(*start, kBundleFile).has_value());
}

class Scanner {
 public:
  explicit Scanner(FolderScan& found) : found_(found) {}

  void scan(const std::string& folder, std::size_t depth) {
    const bool is_spore = looks_like_spore(folder);
    if (is_spore) {
      found_.spores.push_back(folder);
    }
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
      visit(*at, is_spore, depth);
    }
    if (error) {
      found_.notes.push_back(fmt::format("{} could not be read: {}", folder, error.message()));
    }
  }

 private:
  void visit(const fs::directory_entry& entry, bool in_spore, std::size_t depth) {
    const std::string path = entry.path().string();
    const std::string name = entry.path().filename().string();
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
      return;  // it went away meanwhile
    }
    if (S_ISREG(status.st_mode)) {
      if (is_staging_name(name) && starts_as_bundle(path)) {
        found_.staging.push_back(path);
      }
      return;
    }
    if (!S_ISDIR(status.st_mode)) {
      return;
    }
    if (is_staging_name(name)) {
      found_.staging.push_back(path);
      return;
    }
    const bool files_only =
        in_spore && (name == kChunksFolder || name == kSectionsFolder || name == kImagesFolder);
    if (files_only || depth == 0) {
      return;
    }
    scan(path, depth - 1);
  }

  FolderScan& found_;
};

void add(const fs::path& path, TreeUsage& usage) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    return;  // it went away meanwhile
  }
  usage.bytes += base::bytes_on_disk(status);
  usage.newest = std::max(usage.newest, status.st_mtim.tv_sec);
  const bool known = S_ISDIR(status.st_mode) ||
                     (S_ISREG(status.st_mode) && is_of_a_spore(path.filename().string()));
  if (!known && usage.strange.empty()) {
    usage.strange = path.string();
  }
}

}  // namespace

bool looks_like_spore(const std::string& folder) {
  // How each manifest begins: its keys are sorted.
  constexpr std::string_view kStart = R"({"annotations":{)";
  const std::string path = fmt::format("{}/{}", folder, kManifestFile);
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return false;
  }
  if (is_there(fmt::format("{}/{}", folder, kManifestDigestFile))) {
    return true;
  }
  const auto fd = base::open_to_read(path);
  const auto start = fd ? base::read_start(fd->get(), kStart.size()) : fail(fd.error());
  return start && *start == kStart;
}

FolderScan scan_folder(const std::string& folder, std::size_t depth) {
  FolderScan found;
  Scanner(found).scan(folder, depth);
  for (auto* list : {&found.spores, &found.staging, &found.notes}) {
    std::sort(list->begin(), list->end());
  }
  return found;
}

std::vector<std::string> spores_near(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  FolderScan found = scan_folder(folder.string(), 2);
  const FolderScan inside = scan_folder(path, 3);
  found.spores.insert(found.spores.end(), inside.spores.begin(), inside.spores.end());
  if (looks_like_spore(folder.parent_path().string())) {
    found.spores.push_back(folder.parent_path().string());
  }
  std::sort(found.spores.begin(), found.spores.end());
  found.spores.erase(std::unique(found.spores.begin(), found.spores.end()), found.spores.end());
  std::erase(found.spores, path);
  return found.spores;
}

Result<TreeUsage> measure_tree(const std::string& path) {
  TreeUsage usage;
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    return fail(Error::from_errno(errno, fmt::format("looking at {}", path)));
  }
  usage.bytes = base::bytes_on_disk(status);
  usage.newest = status.st_mtim.tv_sec;
  if (!S_ISDIR(status.st_mode)) {
    return usage;
  }
  std::error_code error;
  for (fs::recursive_directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    add(at->path(), usage);
  }
  if (error) {
    return fail(Error::from_errno(error.value(), fmt::format("looking at {}", path)));
  }
  return usage;
}

std::optional<std::string> digest_in_name(std::string_view file_name, std::string_view suffix) {
  if (!file_name.ends_with(suffix)) {
    return std::nullopt;
  }
  const std::string_view digest = file_name.substr(0, file_name.size() - suffix.size());
  return is_digest(digest) ? std::optional<std::string>(digest) : std::nullopt;
}

Result<void> remove_tree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) {
    return fail(Error::from_errno(error.value(), fmt::format("removing {}", path)));
  }
  return {};
}

}  // namespace spore::snapshot
