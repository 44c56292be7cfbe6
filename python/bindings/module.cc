// The extension module spore._core: the public C++ API, and nothing else, for Python.
#include <pybind11/pybind11.h>

#include "objects.h"
#include "values.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C++ part of spore; use it through the package.";
  spore::python::bind_values(module);
  spore::python::bind_process(module);
  spore::python::bind_machine(module);
  spore::python::bind_session(module);
  spore::python::bind_disk_functions(module);
  spore::python::bind_kept(module);
}
