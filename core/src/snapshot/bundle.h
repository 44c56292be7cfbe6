// Bundles: spores of one tree, with all that they need, as one tar stream (FORMAT.md). Its first
// file, bundle.json, names all others with their digests. Values; any thread.
// Hostile bytes: bundle.json.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "snapshot/directory.h"
#include "spore/disk.h"
#include "spore/result.h"

namespace spore {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BundledSpore, name, id, parent)

}  // namespace spore

namespace spore::snapshot {

inline constexpr const char* kBundleFile = "bundle.json";
inline constexpr std::size_t kMaxBundleDocumentBytes = 16 * 1024 * 1024;
// What is read of a file, or of the stream, at a time.
inline constexpr std::size_t kBundleBlockBytes = 256 * 1024;
// A bundle that is one spore is that spore; its parents, and in other bundles the parents that
// nobody asked for, are in a folder of their own.
inline constexpr std::string_view kOnlySpore = ".";
inline constexpr std::string_view kParentsFolder = "parents";

struct BundleFile {
  std::string name;
  std::string sha256;
  std::uint64_t bytes = 0;
  bool operator==(const BundleFile&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BundleFile, name, sha256, bytes)

struct BundleDocument {
  std::vector<BundledSpore> spores;  // ascending by name
  std::vector<BundleFile> files;     // the same; in the stream they come in this order
};
void to_json(nlohmann::json& json, const BundleDocument& document);
void from_json(const nlohmann::json& json, BundleDocument& document);  // throws as nlohmann's do

// Also checks what a stranger may have written: that each file belongs to a spore of the bundle, is
// named as such files are, and may be as large as it says.
Result<BundleDocument> parse_bundle_document(std::string_view bytes);

// Whether a spore may be called so in a bundle.
bool is_bundle_name(std::string_view name);
// "<spore>/<file>".
std::string bundled_path(std::string_view spore, std::string_view file);
// What the file `parent` of the spore says.
std::string parent_hint(std::string_view spore, std::string_view parent);

// A spore with what it is called in a bundle.
struct BundleMember {
  std::string name;
  std::shared_ptr<const SporeDirectory> spore;
};
// The bytes of a file of a bundle: `text`, or the file `path`.
struct BundleContent {
  std::string path;
  std::string text;
};
struct BundlePlan {
  BundleDocument document;
  std::vector<BundleContent> contents;  // as document.files
};
// All parents of a member must be members. Reads and checks everything but images.
Result<BundlePlan> plan_bundle(std::vector<BundleMember> members, bool images);

bool is_image(const BundleFile& file);
// What is said of a bundle when it is done.
Bundle describe_bundle(const BundleDocument& document, std::string digest,
                       std::size_t document_bytes);

}  // namespace spore::snapshot
