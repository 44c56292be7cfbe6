// The rules of `spore cp` about names, which are docker cp's: what a copy is called, and where it
// goes.
#pragma once

#include <string>
#include <string_view>

#include "spore/result.h"

namespace spore::cli::machines {

// One of the two ends of a copy.
struct CopyEnd {
  std::string machine;  // empty: this host
  std::string path;
};

// "NAME:PATH", or a path of this host. A host path with a colon begins with '/' or '.'.
Result<CopyEnd> parse_copy_end(std::string_view word);

// A path without "." and empty parts; a relative one is meant to begin at `base`.
std::string clean_path(std::string_view path, std::string_view base);

enum class PathKind { kMissing, kFile, kDirectory };

struct CopySource {
  std::string path;  // as the user said it
  std::string base;  // what a relative path is relative to
  bool is_directory = false;
};
struct CopyTarget {
  std::string path;  // as the user said it
  std::string base;
  std::string where;                     // "on this host", for an Error
  PathKind kind = PathKind::kMissing;    // of what the path leads to
  PathKind parent = PathKind::kMissing;  // of the directory that it lies in
};

// A copy that is possible: what is copied becomes `name` in `directory`, which is there.
struct CopyPlan {
  std::string directory;
  std::string name;  // empty: the content of the source goes straight into `directory`
};
Result<CopyPlan> plan_copy(const CopySource& source, const CopyTarget& target);

}  // namespace spore::cli::machines
