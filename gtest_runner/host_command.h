// A program of this host, run to its end.
#pragma once

#include <string>
#include <vector>

#include "spore/result.h"

namespace spore::gtest_runner {

// An Error when it cannot be started, or fails: then with what it said.
Result<void> run_on_host(std::vector<std::string> command);

}  // namespace spore::gtest_runner
