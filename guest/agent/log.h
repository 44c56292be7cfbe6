// The agent's log: one short line per event, into the kernel log in a machine, to stderr elsewhere.
#pragma once

#include <string_view>

namespace spore::agent {

// Lines go to /dev/kmsg from now on, if it can be opened.
void log_to_kernel();

void log_info(std::string_view line);
void log_error(std::string_view line);

}  // namespace spore::agent
