#include "errors.h"

#include <pybind11/pybind11.h>

namespace spore::python {
namespace {

namespace py = pybind11;

const char* exception_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "InvalidArgument";
    case ErrorCode::kNotFound:
      return "NotFound";
    case ErrorCode::kUnavailable:
      return "Unavailable";
    case ErrorCode::kPermissionDenied:
      return "PermissionDenied";
    case ErrorCode::kResourceExhausted:
      return "ResourceExhausted";
    case ErrorCode::kCorrupt:
      return "Corrupt";
    case ErrorCode::kMachineEnded:
      return "MachineEnded";
    case ErrorCode::kTimedOut:
      return "TimedOut";
    case ErrorCode::kInterrupted:
      return "Interrupted";
    case ErrorCode::kInternal:
      return "Internal";
  }
  return "Error";
}

}  // namespace

void throw_error(const Error& error) {
  const py::object type = py::module_::import("spore.errors").attr(exception_name(error.code()));
  // What a guest or the host kernel says need not be UTF-8.
  const auto message = py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(
      error.message().data(), static_cast<Py_ssize_t>(error.message().size()), "replace"));
  if (message) {
    PyErr_SetObject(type.ptr(), message.ptr());
  }
  throw py::error_already_set();
}

}  // namespace spore::python
