// Finding spores, and what crashes left of them, in folders of a user. Links are never followed.
// Hostile bytes: names, and the start of files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spore/result.h"

namespace spore::snapshot {

inline constexpr std::size_t kMaxScanDepth = 64;

// Whether a directory is a spore, be it a damaged one. Others have files called manifest.json, too.
bool looks_like_spore(const std::string& folder);

struct FolderScan {
  std::vector<std::string> spores;   // directories that look like one
  std::vector<std::string> staging;  // directories and bundles in the making
  std::vector<std::string> notes;    // folders that could not be read
};

// `folder` itself and what is at most `depth` below it, sorted. What is in the making is not
// looked into.
FolderScan scan_folder(const std::string& folder, std::size_t depth);

// Spores that may have the spore `path` as their parent: in the same folder or one below, in it, or
// around it. Without itself.
std::vector<std::string> spores_near(const std::string& path);

// What is below a directory that a spore may hold, or may have held.
struct TreeUsage {
  std::uint64_t bytes = 0;  // on disk
  std::time_t newest = 0;   // when something in it was written last
  std::string strange;      // a file that no spore has, if there is one
};
Result<TreeUsage> measure_tree(const std::string& path);

// The digest in "<digest><suffix>"; nothing for other names.
std::optional<std::string> digest_in_name(std::string_view file_name, std::string_view suffix);

// Like rm -r; the Error names what could not be removed.
Result<void> remove_tree(const std::string& path);

}  // namespace spore::snapshot
