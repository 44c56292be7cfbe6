// --json: the run for scripts. Its fields are in docs/gtest-runner.md.
#pragma once

#include <string>

#include "own_report.h"

namespace spore::gtest_runner {

std::string json_summary(const OwnReport& report);

}  // namespace spore::gtest_runner
