// The `agent` section of a spore on disk (snapshot/FORMAT.md): the host's view of the processes in
// the guest. Hostile bytes: a section that is read.
#pragma once

#include <string>
#include <string_view>

#include "session/agent_client.h"

namespace spore::session {

std::string write_agent_section(const AgentSnapshot& snapshot);

// kUnavailable when the guest's agent speaks another version of its protocol; kCorrupt for what
// no write_agent_section() writes.
Result<AgentSnapshot> read_agent_section(std::string_view bytes, std::string_view what);

}  // namespace spore::session
