// Making a named machine: the creator's side. The monitor is this program once more, in a session
// of its own, with nothing of the creator but a socket pair (until the machine runs) and the
// machine's lock.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "cli/machines/registry.h"
#include "spore/machine.h"
#include "spore/result.h"

namespace spore::cli::machines {

// Where a monitor finds what its creator leaves it.
inline constexpr int kCreatorFd = 3;
inline constexpr int kAliveFd = 4;

struct CreateOrder {
  std::string name;
  std::string engine;
  MachineConfig config;  // paths in it are absolute
  std::string spore{};   // directory of a spore to go on from, absolute; empty: boot
};

// Boots a machine and returns once its agent answers. An Error is the monitor's, and leaves
// nothing.
Result<Entry> create_machine(const Registry& registry, const CreateOrder& order,
                             const std::function<void(std::string_view)>& progress);

// Lets a suspended machine go on. After an Error it is suspended as it was.
Result<Entry> resume_machine(const Registry& registry, const std::string& name,
                             const std::function<void(std::string_view)>& progress);

}  // namespace spore::cli::machines
