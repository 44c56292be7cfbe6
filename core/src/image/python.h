// What a Python interpreter needs: asked of the interpreter itself.
// Hostile bytes: what the interpreter prints (sitecustomize and .pth files run in it).
#pragma once

#include <string>

#include "image/closure.h"
#include "image/tree.h"
#include "spore/result.h"

namespace spore::image {

// Adds an interpreter with its environment: the virtual environment or prefix, standard library,
// site-packages, editable installs and PYTHONPATH, the library closure of every extension module,
// time zones and CA certificates.
Result<void> add_python(const std::string& interpreter, Tree& tree, Closure& closure);

}  // namespace spore::image
