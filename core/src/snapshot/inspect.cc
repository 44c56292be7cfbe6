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
#include "snapshot/flat_backing.h"
#include "snapshot/proof.h"
#include "snapshot/ram_layers.h"
#include "snapshot/staging.h"
#include "snapshot/working_set.h"
#include "spore/disk.h"

namespace spore {
namespace {

using snapshot::ChunkRef;
using snapshot::RamLayers;
using snapshot::SporeDirectory;

std::string own_file(const SporeDirectory& spore, std::string_view name) {
  return fmt::format("{}/{}", spore.path(), name);
}
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
  void verify_flat(const RamLayers::Layer& layer);
  void verify_working_set(const RamLayers::Layer& layer);
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
        SPORE_ASSIGN(const bool same, base::has_sha256(path, image.bytes, image.sha256));
        if (!same) {
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
  if (::stat(own_file(owner, snapshot::kFlatFile).c_str(), &flat) == 0) {
    described.flat_bytes = base::bytes_on_disk(flat);
    described.flat_proof = snapshot::is_there(own_file(owner, snapshot::kFlatProofFile));
  }
  if (verify_) {
    verify_flat(layer);
    verify_working_set(layer);
  }
  return described;
}

// What is wrong in it is mapped all the same, while the proof holds.
void Inspector::verify_flat(const RamLayers::Layer& layer) {
  const std::string path = own_file(*layer.owner, snapshot::kFlatFile);
  if (snapshot::is_there(path)) {
    auto opened = snapshot::FlatBackingCheck::open(path, layer.section);
    if (!opened) {
      note(path, opened.error().message());
    } else {
      const auto flat = std::make_shared<const snapshot::FlatBackingCheck>(std::move(*opened));
      for (std::size_t part = 0; part < flat->parts(); ++part) {
        plan(path, [flat, part] { return flat->check(part); });
      }
    }
  }
  const std::string proof_path = own_file(*layer.owner, snapshot::kFlatProofFile);
  if (snapshot::is_there(proof_path)) {
    const auto proof = base::read_file(proof_path, snapshot::kMaxProofBytes);
    if (!proof || !snapshot::is_whole_proof(*proof, layer.sha256)) {
      note(proof_path,
           "it is no proof that this version writes, or was changed: remove it and ram.img, and "
           "the spore goes on from its chunks");
    }
  }
}

void Inspector::verify_working_set(const RamLayers::Layer& layer) {
  const std::string path = own_file(*layer.owner, snapshot::kWorkingSetFile);
  if (snapshot::is_there(path)) {
    if (const auto set = snapshot::read_working_set(path, layer.section.size); !set) {
      note(path,
           fmt::format("{}: remove it, and the spore goes on without", set.error().message()));
    }
  }
}

// Also its parents': they are spores, and may lie in its directory.
void Inspector::verify_sections() {
  for (const SporeDirectory* at = spore_.get(); at != nullptr; at = at->parent().get()) {
    for (const auto& entry : at->manifest().sections) {
      const std::string& name = entry.first;
      plan(section_file(*at, name), [at, name]() -> Result<void> {
        SPORE_ASSIGN(const std::string bytes, at->section(name));
        SPORE_TRY(snapshot::parse_document(bytes, fmt::format("section {}", name)));
        return {};
      });
    }
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
    // The one that cannot be read; where each can, they do not fit together.
    const SporeDirectory* at = spore_.get();
    while (at != nullptr && at->ram_section()) {
      at = at->parent().get();
    }
    note(section_file(at != nullptr ? *at : *spore_, snapshot::kRamSection), ram.error().message());
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
