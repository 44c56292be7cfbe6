// A small userland, out of the host's own: a shell, the usual tools, and the files in /etc that
// programs expect.
#pragma once

#include "image/closure.h"
#include "image/tree.h"
#include "spore/result.h"

namespace spore::image {

// What the host does not have is left out.
Result<void> add_base_system(Tree& tree, Closure& closure);

// The links that join /bin, /lib, ... to /usr, where the host has them, and what the dynamic linker
// reads: without them no program starts.
Result<void> add_loader_files(Tree& tree);

}  // namespace spore::image
