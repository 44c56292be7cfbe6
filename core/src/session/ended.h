// How the end of a machine is told to a person: one wording for every engine.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "spore/machine.h"
#include "spore/result.h"

namespace spore::session {

// The details of an end, for whoever finds out about it.
MachineEnd closed_end(std::string detail = "its owner closed it");
MachineEnd put_back_end();
MachineEnd engine_failed_end(std::string why);

// One clause: "the guest kernel panicked (Kernel panic - not syncing: ...)".
std::string describe_end(const MachineEnd& end);

// `sentence`, and the last lines of a console below it.
std::string with_console(std::string sentence, std::string_view console_tail);

// kMachineEnded: "<attempted>: <how the machine ended>".
Error ended_error(std::string_view attempted, const MachineEnd& end);

// What to do when a guest died or fell silent for want of memory; empty when nothing says so.
std::string memory_advice(std::string_view console_tail, std::uint64_t memory_bytes);

}  // namespace spore::session
