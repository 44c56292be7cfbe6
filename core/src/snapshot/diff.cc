// What two spores on disk have not in common.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "snapshot/directory.h"
#include "snapshot/document.h"
#include "snapshot/ram_diff.h"
#include "snapshot/ram_layers.h"
#include "spore/disk.h"
#include "wire/machine_json.h"

namespace spore {
namespace {

using nlohmann::json;
using snapshot::SporeDirectory;

class FieldDiff {
 public:
  FieldDiff(std::string part, std::vector<FieldDifference>& found)
      : part_(std::move(part)), found_(found) {}

  // nullptr: not there. Documents are at most wire::kMaxJsonDepth deep.
  void compare(const json* left, const json* right, const json::json_pointer& at) {
    if (left != nullptr && right != nullptr) {
      if (*left == *right) {
        return;
      }
      if (left->is_object() && right->is_object()) {
        return compare_objects(*left, *right, at);
      }
      if (left->is_array() && right->is_array()) {
        return compare_arrays(*left, *right, at);
      }
    }
    found_.push_back({part_, at.to_string(), left != nullptr ? left->dump() : std::string(),
                      right != nullptr ? right->dump() : std::string()});
  }

 private:
  static const json* member(const json& object, const std::string& key) {
    const auto found = object.find(key);
    return found == object.end() ? nullptr : &*found;
  }

  void compare_objects(const json& left, const json& right, const json::json_pointer& at) {
    std::set<std::string> keys;
    for (const json* object : {&left, &right}) {
      for (const auto& entry : object->items()) {
        keys.insert(entry.key());
      }
    }
    for (const std::string& key : keys) {
      compare(member(left, key), member(right, key), at / key);
    }
  }

  void compare_arrays(const json& left, const json& right, const json::json_pointer& at) {
    for (std::size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
      compare(i < left.size() ? &left[i] : nullptr, i < right.size() ? &right[i] : nullptr, at / i);
    }
  }

  const std::string part_;
  std::vector<FieldDifference>& found_;
};

// CPU features are a set, and are compared as one.
json platform_json(const snapshot::Platform& platform) {
  json object = platform;
  json features = json::object();
  for (const std::string& feature : platform.cpu_features) {
    features[feature] = true;
  }
  object["cpu_features"] = std::move(features);
  return object;
}

// What is compared of a spore besides RAM, by part.
Result<std::vector<std::pair<std::string, json>>> parts_of(const SporeDirectory& spore) {
  const snapshot::Manifest& manifest = spore.manifest();
  std::vector<std::pair<std::string, json>> parts;
  parts.emplace_back("platform", platform_json(manifest.platform));
  parts.emplace_back("images", manifest.images);
  parts.emplace_back("annotations", manifest.annotations);
  parts.emplace_back("generation", manifest.generation);
  parts.emplace_back("fork", manifest.fork ? json(*manifest.fork) : json());
  for (const auto name : {snapshot::kVmSection, snapshot::kAgentSection}) {
    SPORE_ASSIGN(const std::string bytes, spore.section(name));
    SPORE_ASSIGN(json section, snapshot::parse_document(
                                   bytes, fmt::format("section {} of {}", name, spore.path())));
    parts.emplace_back(std::string(name), std::move(section));
  }
  return parts;
}

}  // namespace

Result<SporeDifference> diff_spores(const std::string& left_path, const std::string& right_path) {
  SPORE_ASSIGN(const auto left, SporeDirectory::open(left_path));
  SPORE_ASSIGN(const auto right, SporeDirectory::open(right_path));
  SporeDifference difference;
  difference.left = left->id();
  difference.right = right->id();
  SPORE_ASSIGN(const auto left_parts, parts_of(*left));
  SPORE_ASSIGN(const auto right_parts, parts_of(*right));
  for (std::size_t i = 0; i < left_parts.size(); ++i) {
    FieldDiff(left_parts[i].first, difference.fields)
        .compare(&left_parts[i].second, &right_parts[i].second, json::json_pointer());
  }
  SPORE_ASSIGN(const auto left_ram, snapshot::RamLayers::open(left));
  SPORE_ASSIGN(const auto right_ram, snapshot::RamLayers::open(right));
  SPORE_ASSIGN(auto ram, snapshot::diff_ram(left_ram, right_ram));
  difference.pages = ram.pages;
  difference.ranges = std::move(ram.ranges);
  difference.chunks_read = ram.chunks_read;
  return difference;
}

}  // namespace spore
