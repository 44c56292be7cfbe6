// A program of this host, run to its end.
#pragma once

#include <string>
#include <vector>

#include "spore/result.h"

namespace spore::gtest_runner {

enum class Said { kAll, kOnStdout };

// What it said, up to 1 MiB. An Error when it cannot be started, or fails: then with what it said.
Result<std::string> run_on_host(std::vector<std::string> command, Said said = Said::kAll);

}  // namespace spore::gtest_runner
