// Catch2, versions 2 and 3: --list-tests, test specs of exact names, and the XML reporter.
#pragma once

#include "framework.h"

namespace spore::gtest_runner {

// `arguments`: the user's. `help`: what the program printed with --help.
Result<std::unique_ptr<Framework>> make_catch2(const std::vector<std::string>& arguments,
                                               std::string_view help);

// The spec that takes the test of this name, and others only where Catch2 has no words for one:
// names that differ in case alone, and those that begin or end with *.
std::string catch2_spec(std::string_view name);

}  // namespace spore::gtest_runner
