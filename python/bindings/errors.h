// The one place where Results become Python exceptions.
#pragma once

#include <type_traits>
#include <utility>

#include "spore/result.h"

namespace spore::python {

// Throws the exception of spore.errors that belongs to `error`. Call it with the GIL held.
[[noreturn]] void throw_error(const Error& error);

template <typename T>
T unwrap(Result<T> result) {
  if (!result) {
    throw_error(result.error());
  }
  if constexpr (!std::is_void_v<T>) {
    return std::move(*result);
  }
}

}  // namespace spore::python
