// Root images: immutable squashfs files made from directories, files and programs of this host,
// named by the digest of their content, cached, built once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "spore/result.h"

namespace spore {

// Where something lies inside the image, when not at the same path as on the host.
struct ImageMount {
  std::string source;  // host path
  std::string target;  // guest path
};

struct ImageSpec {
  // Files and directories, at the same path in the guest, and the shared libraries that programs
  // among them load.
  std::vector<std::string> paths = {};
  // Files and directories, elsewhere in the guest.
  std::vector<ImageMount> mounts = {};
  // Executables (paths, or names in PATH): they, and what they load (ELF interpreter,
  // shared-library closure, #! interpreters).
  std::vector<std::string> programs = {};
  // Interpreters: prefix, standard library, site-packages, and the shared-library closure of every
  // extension module.
  std::vector<std::string> pythons = {};
  // Glob patterns of paths to leave out (fnmatch, on host paths).
  std::vector<std::string> excludes = {};
  // Also a small userland: sh, coreutils, and the files in /etc that programs expect (passwd,
  // hosts, nsswitch.conf, ...).
  bool base_system = false;
  // Bytes: what takes no more in memory, in whole pages, becomes a tar archive in place of a file
  // system, for a machine that is up already.
  std::uint64_t archive_up_to = 0;
};

struct Image {
  std::string path;    // of the squashfs, or the archive, in the cache
  std::string digest;  // SHA-256 of its bytes, hexadecimal
  std::uint64_t bytes = 0;
  bool built = false;    // false: it was in the cache
  bool archive = false;  // a tar archive
};

// Builds the image, or finds it in the cache ($SPORE_CACHE_DIR, else $XDG_CACHE_HOME/spore, else
// ~/.cache/spore). The same input gives the same bytes. Two builds of the same image at once do the
// work once. `progress` may be empty.
Result<Image> build_image(const ImageSpec& spec,
                          const std::function<void(std::string_view)>& progress);

}  // namespace spore
