// A Tree as a tar stream (GNU format). The same tree gives the same bytes.
#pragma once

#include <functional>
#include <string_view>

#include "image/tree.h"
#include "spore/result.h"

namespace spore::image {

// Writes all entries but the root itself into `output`, a file or a socket, a borrow. An Error is
// of a file that is packed; else the errno for which `output` took no more, or 0. `progress` may
// be empty.
Result<int> stream_archive(const Tree& tree, int output,
                           const std::function<void(std::string_view)>& progress);

// The same into a file.
Result<void> write_archive(const Tree& tree, int output,
                           const std::function<void(std::string_view)>& progress);

}  // namespace spore::image
