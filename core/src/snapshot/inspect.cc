// What a spore on disk is made of, and whether all of it is there and right.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <set>
#include <utility>

#include "base/digest.h"
#include "base/files.h"
#include "base/parallel.h"
#include "snapshot/chunk.h"
#include "snapshot/directory.h"
#include "snapshot/document.h"
#include "snapshot/ram_layers.h"
#include "snapshot/staging.h"
#include "spore/disk.h"

namespace spore {
namespace {

using snapshot::ChunkRef;
using snapshot::RamLayers;
using snapshot::SporeDirectory;

constexpr std::uint64_t kBlockBytes = 512;  // of st_blocks, on every file system

std::string own_file(const SporeDirectory& spore, std::string_view folder, std::string_view name) {
  return fmt::format("{}/{}/{}", spore.path(), folder, name);
}

// Where a section is, or would be.
std::string section_file(const SporeDirectory& spore, std::string_view name) {
  const std::string file = spore.section_ref(name).sha256 + ".json";
  return spore.find(snapshot::kSectionsFolder, file, name)
      .value_or(own_file(spore, snapshot::kSectionsFolder, file));
}

class Inspector {
 public:
  Inspector(std::shared_ptr<const SporeDirectory> spore, bool verify)
      : spore_(std::move(spore)), verify_(verify) {}

  Result<SporeReport> inspect();

 private:
  void describe_manifest();
  void find_images();
  RamLayer describe_layer(const RamLayers::Layer& layer);
  void verify_sections();
  // Later, on any core.
  void plan(std::string path, std::function<Result<void>()> check) {
    checks_.push_back({std::move(path), std::move(check)});
  }
  void note(std::string path, std::string why) {
    const std::lock_guard lock(mutex_);
    report_.bad.push_back({std::move(path), std::move(why)});
  }

  struct Check {
    std::string path;
    std::function<Result<void>()> run;
  };

  const std::shared_ptr<const SporeDirectory> spore_;
  const bool verify_;
  std::vector<Check> checks_;
  std::mutex mutex_;
  SporeReport report_;  // `bad` under mutex_ while the checks run
};

void Inspector::describe_manifest() {
  const snapshot::Manifest& manifest = spore_->manifest();
  report_.id = spore_->id();
  report_.path = spore_->path();
  report_.created = manifest.created;
  report_.created_by = manifest.created_by;
  report_.generation = manifest.generation;
  report_.fork = manifest.fork;
  report_.platform = manifest.platform;
  report_.annotations = manifest.annotations;
  report_.verified = verify_;
  for (const SporeDirectory* at = spore_->parent().get(); at != nullptr; at = at->parent().get()) {
    report_.parents.push_back({at->id(), at->path()});
  }
}

void Inspector::find_images() {
  for (const snapshot::ImageRef& image : spore_->manifest().images) {
    const auto found = spore_->find_image(image);
    report_.images.push_back({image.sha256, image.bytes, image.name, found.value_or("")});
    if (!found) {
      note(image.name.empty() ? own_file(*spore_, snapshot::kImagesFolder, image.sha256)
                              : image.name,
           "the root image is missing");
    } else if (verify_) {
      plan(*found, [image, path = *found]() -> Result<void> {
        SPORE_ASSIGN(const base::UniqueFd fd, base::open_to_read(path));
        struct stat status {};
        const bool same_size = ::fstat(fd.get(), &status) == 0 && S_ISREG(status.st_mode) &&
                               static_cast<std::uint64_t>(status.st_size) == image.bytes;
        SPORE_ASSIGN(const std::string digest,
                     same_size ? base::sha256_of_file(fd.get(), path) : Result<std::string>(""));
        if (digest != image.sha256) {
          return fail(ErrorCode::kCorrupt,
                      "it is not the root image that it was at the capture: it was changed");
        }
        return {};
      });
    }
  }
}

RamLayer Inspector::describe_layer(const RamLayers::Layer& layer) {
  const SporeDirectory& owner = *layer.owner;
  RamLayer described{layer.sha256, owner.path(), layer.section.stored_pages(),
                     layer.section.chunks.size()};
  std::set<std::string> seen;
  for (const ChunkRef& chunk : layer.section.chunks) {
    if (!seen.insert(chunk.sha256).second) {
      continue;
    }
    const auto path = snapshot::find_chunk(owner, chunk);
    struct stat status {};
    if (!path || ::stat(path->c_str(), &status) != 0) {
      note(own_file(owner, snapshot::kChunksFolder, snapshot::chunk_file_name(chunk.sha256)),
           "the chunk is missing");
      continue;
    }
    described.file_bytes += static_cast<std::uint64_t>(status.st_size);
    if (verify_) {
      plan(*path, [&owner, chunk]() -> Result<void> {
        SPORE_TRY(snapshot::load_chunk(owner, chunk));
        return {};
      });
    }
  }
  struct stat flat {};
  if (::stat(fmt::format("{}/{}", owner.path(), snapshot::kFlatFile).c_str(), &flat) == 0) {
    described.flat_bytes = static_cast<std::uint64_t>(flat.st_blocks) * kBlockBytes;
    described.flat_proof =
        snapshot::is_there(fmt::format("{}/{}", owner.path(), snapshot::kFlatProofFile));
  }
  return described;
}

void Inspector::verify_sections() {
  for (const auto& entry : spore_->manifest().sections) {
    const std::string& name = entry.first;
    plan(section_file(*spore_, name), [this, name]() -> Result<void> {
      SPORE_ASSIGN(const std::string bytes, spore_->section(name));
      SPORE_TRY(snapshot::parse_document(bytes, fmt::format("section {}", name)));
      return {};
    });
  }
}

Result<SporeReport> Inspector::inspect() {
  describe_manifest();
  find_images();
  const auto ram = RamLayers::open(spore_);
  if (ram) {
    for (const RamLayers::Layer& layer : ram->layers()) {
      report_.ram.push_back(describe_layer(layer));
    }
  } else {
    note(section_file(*spore_, snapshot::kRamSection), ram.error().message());
  }
  if (verify_) {
    verify_sections();
  }
  SPORE_TRY(base::parallel_for(checks_.size(), [this](std::size_t i) -> Result<void> {
    if (const auto checked = checks_[i].run(); !checked) {
      note(checks_[i].path, checked.error().message());
    }
    return {};
  }));
  // One line for each file, in an order that is the same every time.
  const auto by_path = [](const BadFile& left, const BadFile& right) {
    return left.path < right.path;
  };
  std::stable_sort(report_.bad.begin(), report_.bad.end(), by_path);
  report_.bad.erase(std::unique(report_.bad.begin(), report_.bad.end(),
                                [](const BadFile& left, const BadFile& right) {
                                  return left.path == right.path;
                                }),
                    report_.bad.end());
  return std::move(report_);
}

}  // namespace

Result<SporeReport> inspect_spore(const std::string& path, const InspectOptions& options) {
  SPORE_ASSIGN(auto spore, SporeDirectory::open(path));
  return Inspector(std::move(spore), options.verify).inspect();
}

}  // namespace spore
