// Bindings of plain values, and conversions that the other bindings share.
#pragma once

#include <pybind11/pybind11.h>

#include <functional>
#include <string>
#include <string_view>

namespace spore::python {

// Bytes of a guest or the host kernel, which need not be UTF-8, as a str.
pybind11::str text(std::string_view bytes);

// The path that an Image, a str or an os.PathLike names.
std::string path_of(const pybind11::handle& object);

// `callback` (a callable, or None) for threads without the GIL.
std::function<void(std::string_view)> progress_function(const pybind11::object& callback);

void bind_values(pybind11::module_& module);

}  // namespace spore::python
