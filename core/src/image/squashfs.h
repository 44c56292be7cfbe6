// Packing a Tree into a squashfs file, with sqfstar of squashfs-tools.
#pragma once

#include <functional>
#include <string_view>

#include "image/tree.h"
#include "spore/result.h"

namespace spore::image {

// Writes the image into `output` (an empty file, a borrow). The same tree gives the same bytes.
Result<void> write_squashfs(const Tree& tree, int output,
                            const std::function<void(std::string_view)>& progress);

}  // namespace spore::image
