// Ending a named machine and removing what there is of it.
#pragma once

#include <string>

#include "cli/machines/registry.h"
#include "spore/result.h"

namespace spore::cli::machines {

// Returns when the monitor is gone and the folder removed. A machine that did not end by itself is
// ended only by `force`; one whose monitor does not end in time is killed.
Result<void> remove_machine(const Registry& registry, const std::string& name, bool force);

}  // namespace spore::cli::machines
