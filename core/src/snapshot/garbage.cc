// What nobody needs of the spores below a folder. Hostile bytes: all of the folder; what is not
// recognised is left alone.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <set>
#include <string>
#include <utility>

#include "base/files.h"
#include "snapshot/directory.h"
#include "snapshot/folder_scan.h"
#include "snapshot/staging.h"
#include "spore/disk.h"

namespace spore {
namespace {

namespace fs = std::filesystem;
using snapshot::SporeDirectory;

constexpr std::time_t kInTheMakingSeconds = 3600;

// A folder of a spore, whose files are named by digests.
struct DigestFolder {
  const char* name;
  const char* kind;
  const char* suffix;
};
constexpr std::array<DigestFolder, 3> kDigestFolders = {
    {{snapshot::kChunksFolder, "chunk", ".zst"},
     {snapshot::kSectionsFolder, "section", ".json"},
     {snapshot::kImagesFolder, "image", ""}}};

std::set<std::string> all_spores_around(const snapshot::FolderScan& below,
                                        const std::string& folder) {
  std::set<std::string> spores(below.spores.begin(), below.spores.end());
  for (std::string& path : snapshot::spores_near(folder)) {
    spores.insert(std::move(path));
  }
  return spores;
}

class Collector {
 public:
  Collector(std::string folder, const GarbageOptions& options)
      : folder_(std::move(folder)), options_(options) {}

  GarbageReport collect() {
    snapshot::FolderScan below = snapshot::scan_folder(folder_, snapshot::kMaxScanDepth);
    report_.notes = std::move(below.notes);
    for (const std::string& path : below.staging) {
      look_at_staging(path);
    }
    for (const std::string& path : all_spores_around(below, folder_)) {
      learn_needs(path);
    }
    for (const std::string& path : below.spores) {
      look_at_flat(path);
      if (all_needs_known_) {
        look_at_files(path);
      }
    }
    if (!options_.dry_run) {
      remove_all();
    }
    for (const Garbage& item : report_.items) {
      report_.bytes += item.bytes;
    }
    return std::move(report_);
  }

 private:
  void add(const char* kind, const std::string& path, std::uint64_t bytes, std::string why) {
    report_.items.push_back({kind, path, bytes, std::move(why)});
  }

  void look_at_staging(const std::string& path) {
    const auto usage = snapshot::measure_tree(path);
    if (!usage) {
      report_.notes.push_back(usage.error().message());
      return;
    }
    if (!usage->strange.empty()) {
      report_.notes.push_back(
          fmt::format("{} was left alone: {} is no file of a spore", path, usage->strange));
      return;
    }
    if (!options_.all && std::time(nullptr) - usage->newest < kInTheMakingSeconds) {
      report_.notes.push_back(fmt::format(
          "{} was left alone: it was written to in the last hour, and may be in the making", path));
      return;
    }
    add("staging", path, usage->bytes, "it was in the making when its program ended");
  }

  // What a spore needs, wherever it lies: in it, or in one of its parents.
  void learn_needs(const std::string& path) {
    const auto read = [&]() -> Result<void> {
      SPORE_ASSIGN(const auto spore, SporeDirectory::open(path));
      SPORE_ASSIGN(const auto ram, spore->ram_section());
      for (const auto& [name, section] : spore->manifest().sections) {
        needed_.insert(section.sha256);
      }
      for (const snapshot::ImageRef& image : spore->manifest().images) {
        needed_.insert(image.sha256);
      }
      for (const snapshot::ChunkRef& chunk : ram.chunks) {
        needed_.insert(chunk.sha256);
      }
      return {};
    };
    if (const auto done = read(); !done) {
      all_needs_known_ = false;
      report_.notes.push_back(fmt::format(
          "no chunk, section or image was looked at, because it is not known what {} needs: {}",
          path, done.error().message()));
    }
  }

  void look_at_files(const std::string& spore) {
    for (const DigestFolder& folder : kDigestFolders) {
      const fs::path path = fs::path(spore) / folder.name;
      std::error_code error;
      if (!fs::is_directory(fs::symlink_status(path, error))) {
        continue;
      }
      for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
        const auto digest = snapshot::digest_in_name(at->path().filename().string(), folder.suffix);
        struct stat status {};
        if (digest && !needed_.contains(*digest) && ::lstat(at->path().c_str(), &status) == 0 &&
            S_ISREG(status.st_mode)) {
          add(folder.kind, at->path().string(), base::bytes_on_disk(status),
              "no spore around needs it");
        }
      }
    }
  }

  void look_at_flat(const std::string& spore) {
    const std::string flat = fmt::format("{}/{}", spore, snapshot::kFlatFile);
    struct stat status {};
    if (::lstat(flat.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
        !snapshot::is_there(fmt::format("{}/{}", spore, snapshot::kFlatProofFile))) {
      add("flat", flat, base::bytes_on_disk(status), "without a proof nobody can use it");
    }
  }

  void remove_all() {
    std::vector<Garbage> removed;
    for (Garbage& item : report_.items) {
      if (const auto done = snapshot::remove_tree(item.path); done) {
        removed.push_back(std::move(item));
      } else {
        report_.notes.push_back(done.error().message());
      }
    }
    report_.items = std::move(removed);
    report_.removed = true;
  }

  const std::string folder_;
  const GarbageOptions options_;
  std::set<std::string> needed_;  // digests of files of all kinds
  bool all_needs_known_ = true;
  GarbageReport report_;
};

}  // namespace

Result<GarbageReport> collect_garbage(const std::string& folder, const GarbageOptions& options) {
  const std::string absolute = snapshot::absolute_path(folder);
  struct stat status {};
  if (::lstat(absolute.c_str(), &status) != 0) {
    return fail(Error::from_errno(errno, fmt::format("collecting garbage in {}", folder)));
  }
  if (!S_ISDIR(status.st_mode)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("collecting garbage in {}: it is no directory", folder));
  }
  return Collector(absolute, options).collect();
}

}  // namespace spore
