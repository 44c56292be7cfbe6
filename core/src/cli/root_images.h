// The root images that --root and --mount stand for.
#pragma once

#include <string>
#include <vector>

#include "spore/result.h"

namespace spore::cli {

// Adds an image for each root (a directory, or an image itself), and one for all mounts, to the
// stack `images`.
Result<void> add_root_images(const std::vector<std::string>& roots,
                             const std::vector<std::string>& mounts,
                             std::vector<std::string>& images);

}  // namespace spore::cli
