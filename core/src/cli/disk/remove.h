// What `spore rm` does with spores on disk.
#pragma once

#include <string>
#include <vector>

namespace spore::cli {

// Removes each of the spores, in this order, and says so (`json`: one array of objects on stdout).
// The exit status: kOwnError if one could not be removed; those after it are tried all the same.
int remove_spores(const std::vector<std::string>& paths, bool force, bool json);

}  // namespace spore::cli
