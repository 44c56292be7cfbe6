// The list of what an image will hold, collected from the host: sorted, each path once, every
// parent directory there, symbolic links kept together with what they lead to. Hostile: names and
// links of the host's trees, which may change while they are read.
#pragma once

#include <sys/stat.h>

#include <map>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "spore/result.h"

namespace spore::image {

struct TreeEntry {
  std::string source;     // host path; empty when `content` or a directory made up here
  struct stat status {};  // of the source, its last link not followed
  std::string link;       // a symbolic link's text
  std::optional<std::string> content;  // of a file that is made up here
};

class Tree {
 public:
  // `excludes`: fnmatch patterns of host paths. `never`: a directory that is always left out.
  Tree(std::vector<std::string> excludes, std::string never);

  // Host files at the same path in the guest. Directories with all that is below them. Links on
  // the way, and at its end, are kept, and what they lead to is added.
  Result<void> add(const std::string& path);
  // The same; nothing happens if it is not there or cannot be read.
  Result<void> add_if_there(const std::string& path);
  // The same for the path alone: a directory without what is below it.
  Result<void> add_shallow(const std::string& path);
  // A host file or directory at another path. What is already at the path is replaced.
  Result<void> mount(const std::string& source, const std::string& target);
  // Symbolic links inside a directory that was added also bring what they lead to.
  Result<void> add_following(const std::string& directory);

  void make_directory(const std::string& path, mode_t mode);  // unless it is there
  void make_file(const std::string& path, mode_t mode, std::string content);

  // Whether it is in the directory that is always left out.
  [[nodiscard]] bool never_holds(const std::string& path) const;

  // By guest path, without the leading slash; the root itself is "".
  [[nodiscard]] const std::map<std::string, TreeEntry>& entries() const noexcept {
    return entries_;
  }

 private:
  enum class Depth { kAlone, kAll };

  Result<void> add_path(const std::string& path, Depth depth, int links);
  Result<void> walk(const std::string& source, const std::string& target, dev_t device);
  Result<void> put(const std::string& source, const std::string& target, const struct stat& status);
  Result<std::string> resolve_in_tree(const std::string& target);
  [[nodiscard]] bool excluded(const std::string& path) const;

  std::vector<std::string> excludes_;
  std::string never_;
  std::map<std::string, TreeEntry> entries_;
  std::unordered_set<std::string> known_;   // host paths whose directories and links are in
  std::unordered_set<std::string> walked_;  // host directories that are in with all below them
};

}  // namespace spore::image
