// Which files a bundle of given spores has: a function of the spores and their names alone, so that
// one that is unpacked can be compared with what it says.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "base/digest.h"
#include "base/files.h"
#include "base/parallel.h"
#include "snapshot/bundle.h"
#include "snapshot/chunk.h"
#include "snapshot/document.h"
#include "snapshot/ram_layers.h"

namespace spore::snapshot {
namespace {

constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

class Planner {
 public:
  Planner(std::vector<BundleMember> members, bool images)
      : members_(std::move(members)), images_(images) {}

  Result<BundlePlan> plan() {
    std::sort(members_.begin(), members_.end(),
              [](const auto& left, const auto& right) { return left.name < right.name; });
    find_parents();
    for (std::size_t i = 0; i < members_.size(); ++i) {
      add_own_files(i);
      SPORE_TRY(add_sections(i));
      if (images_) {
        SPORE_TRY(add_images(i));
      }
    }
    SPORE_TRY(check_chunks());
    return finish();
  }

 private:
  // A file that spores share: it lies in the nearest one that all who need it find it in.
  struct Shared {
    std::size_t owner = kNone;
    BundleFile file;  // its name without the owner's
    std::string path;
    ChunkRef chunk;  // of a chunk
  };

  void find_parents() {
    std::map<std::string_view, std::size_t> by_id;
    for (std::size_t i = 0; i < members_.size(); ++i) {
      by_id.emplace(members_[i].spore->id(), i);
    }
    for (const BundleMember& member : members_) {
      const auto found = by_id.find(member.spore->manifest().parent);
      parents_.push_back(found == by_id.end() ? kNone : found->second);
    }
  }

  [[nodiscard]] std::vector<std::size_t> line_of(std::size_t member) const {
    std::vector<std::size_t> line;  // the oldest last
    for (std::size_t at = member; at != kNone; at = parents_[at]) {
      line.push_back(at);
    }
    return line;
  }

  // The youngest spore that is a parent of both, or one of the two.
  [[nodiscard]] std::size_t common(std::size_t left, std::size_t right) const {
    const auto left_line = line_of(left);
    const auto right_line = line_of(right);
    const auto found = std::find_first_of(left_line.begin(), left_line.end(), right_line.begin(),
                                          right_line.end());
    return found == left_line.end() ? kNone : *found;
  }

  void add_text(std::size_t member, std::string_view file, std::string text) {
    std::string digest = base::sha256_of(text);
    files_.push_back({{bundled_path(members_[member].name, file), std::move(digest), text.size()},
                      {{}, std::move(text)}});
  }

  void add_own_files(std::size_t i) {
    const SporeDirectory& spore = *members_[i].spore;
    add_text(i, kManifestFile, to_document(spore.manifest()));
    add_text(i, kManifestDigestFile, manifest_digest_text(spore.id()));
    if (parents_[i] != kNone) {
      add_text(i, kParentFile, parent_hint(members_[i].name, members_[parents_[i]].name));
    }
  }

  Result<Shared*> share(std::size_t member, std::string name) {
    Shared& shared = shared_[name];
    shared.file.name = std::move(name);
    shared.owner = shared.owner == kNone ? member : common(shared.owner, member);
    if (shared.owner == kNone) {
      return fail(ErrorCode::kInvalidArgument,
                  "packing spores: they have no parent in common: pack each tree into a bundle of "
                  "its own");
    }
    return &shared;
  }

  Result<void> add_sections(std::size_t i) {
    const SporeDirectory& spore = *members_[i].spore;
    for (const auto& [name, section] : spore.manifest().sections) {
      SPORE_ASSIGN(Shared * shared,
                   share(i, fmt::format("{}/{}.json", kSectionsFolder, section.sha256)));
      if (shared->path.empty()) {
        SPORE_TRY(spore.section(name));  // checked
        SPORE_ASSIGN(shared->path, spore.find(kSectionsFolder, section.sha256 + ".json", name));
        shared->file.sha256 = section.sha256;
        shared->file.bytes = section.bytes;
      }
    }
    SPORE_ASSIGN(const RamSection* ram, ram_of(spore));
    for (const ChunkRef& chunk : ram->chunks) {
      SPORE_ASSIGN(Shared * shared,
                   share(i, fmt::format("{}/{}", kChunksFolder, chunk_file_name(chunk.sha256))));
      if (shared->path.empty()) {
        SPORE_ASSIGN(shared->path, find_chunk(spore, chunk));
        shared->chunk = chunk;
      } else if (shared->chunk.pages.count() != chunk.pages.count()) {
        return fail(
            not_such_a_document(spore.describe(chunk), "it has another number of pages elsewhere"));
      }
    }
    return {};
  }

  // Spores that were forked on disk have the same one.
  Result<const RamSection*> ram_of(const SporeDirectory& spore) {
    const std::string& digest = spore.section_ref(kRamSection).sha256;
    auto found = ram_sections_.find(digest);
    if (found == ram_sections_.end()) {
      SPORE_ASSIGN(auto section, spore.ram_section());
      found = ram_sections_.emplace(digest, std::move(section)).first;
    }
    return &found->second;
  }

  Result<void> add_images(std::size_t i) {
    const SporeDirectory& spore = *members_[i].spore;
    for (const ImageRef& image : spore.manifest().images) {
      SPORE_ASSIGN(Shared * shared, share(i, fmt::format("{}/{}", kImagesFolder, image.sha256)));
      if (shared->path.empty()) {
        auto path = spore.find_image(image);
        if (!path) {
          return fail(ErrorCode::kNotFound,
                      path.error().message() + ", or pack without images (--no-images)");
        }
        shared->path = std::move(*path);
        shared->file.sha256 = image.sha256;
        shared->file.bytes = image.bytes;
      }
    }
    return {};
  }

  // Reads all chunks: their content has to be right, and the digests of the files are needed.
  Result<void> check_chunks() {
    std::vector<Shared*> chunks;
    for (auto& [name, shared] : shared_) {
      if (!shared.chunk.sha256.empty()) {
        chunks.push_back(&shared);
      }
    }
    return base::parallel_for(chunks.size(), [&](std::size_t i) -> Result<void> {
      Shared& shared = *chunks[i];
      const SporeDirectory& spore = *members_[shared.owner].spore;
      std::vector<std::byte> content(shared.chunk.pages.count() * kPageBytes);
      SPORE_TRY(
          read_chunk(shared.path, shared.chunk.sha256, content, spore.describe(shared.chunk)));
      SPORE_ASSIGN(const std::string file, base::read_file(shared.path, kMaxChunkFileBytes));
      shared.file.sha256 = base::sha256_of(file);
      shared.file.bytes = file.size();
      return {};
    });
  }

  BundlePlan finish() {
    for (auto& [name, shared] : shared_) {
      shared.file.name = bundled_path(members_[shared.owner].name, name);
      files_.push_back({std::move(shared.file), {std::move(shared.path), {}}});
    }
    std::sort(files_.begin(), files_.end(), [](const auto& left, const auto& right) {
      return left.first.name < right.first.name;
    });
    BundlePlan plan;
    for (const BundleMember& member : members_) {
      plan.document.spores.push_back(
          {member.name, member.spore->id(), member.spore->manifest().parent});
    }
    for (auto& [file, content] : files_) {
      plan.document.files.push_back(std::move(file));
      plan.contents.push_back(std::move(content));
    }
    return plan;
  }

  std::vector<BundleMember> members_;  // ascending by name
  const bool images_;
  std::vector<std::size_t> parents_;  // as members_: index, or kNone
  std::map<std::string, Shared> shared_;
  std::map<std::string, RamSection> ram_sections_;
  std::vector<std::pair<BundleFile, BundleContent>> files_;
};

}  // namespace

Result<BundlePlan> plan_bundle(std::vector<BundleMember> members, bool images) {
  return Planner(std::move(members), images).plan();
}

}  // namespace spore::snapshot
