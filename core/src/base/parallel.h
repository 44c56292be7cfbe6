// Work on all cores.
#pragma once

#include <cstddef>
#include <functional>

#include "spore/result.h"

namespace spore::base {

// Calls work(0) to work(count - 1), each once, from as many threads as there are cores (this one is
// one of them), in no order. After an Error no further ones are begun; the first one is answered.
Result<void> parallel_for(std::size_t count, const std::function<Result<void>(std::size_t)>& work);

}  // namespace spore::base
