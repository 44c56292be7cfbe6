// --debug: gdb on this host, on a process that stands in a kept machine at the moment of its
// failure. As often as wanted: each time another machine is made of what was kept.
#pragma once

#include <string>
#include <vector>

#include "gtest_runner/options.h"
#include "gtest_runner/program.h"
#include "spore/result.h"

namespace spore::gtest_runner {

// What brings a debugger into a machine; empty if this host has none. Kept machines are to have it.
std::string find_debug_server();

// The newest machine of options.debug below options.keep_failed. kNotFound names those that are
// kept.
Result<std::string> find_kept_failure(const Options& options);

// The command line of gdb; `spore`: the program that runs the machine.
std::vector<std::string> debug_command(const Program& program, const std::string& kept,
                                       const std::string& spore);

}  // namespace spore::gtest_runner
