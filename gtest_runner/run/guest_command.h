// One command in a guest, run to its end: listing tests, the set-up, fetching a file.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "spore/session.h"

namespace spore::gtest_runner {

struct CommandResult {
  std::string out;
  std::string errors;
  Exited exit;
};

// How a process ended, for a person: "was killed by signal 11 (Segmentation fault)".
std::string describe(const Exited& exit);

// kTimedOut when it is not over after `timeout`, kMachineEnded when the machine was lost.
// `name` is for the messages.
Result<CommandResult> run_command(Machine& machine, const ExecRequest& request,
                                  std::optional<Milliseconds> timeout, std::string_view name);

}  // namespace spore::gtest_runner
