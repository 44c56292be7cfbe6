// Clients of the nest: a plain connection to its agent, and a Host whose machines run in it.
#pragma once

#include <memory>

#include "nest/nest.h"
#include "session/agent_connection.h"
#include "session/host.h"
#include "spore/result.h"

namespace spore::nest {

// The agent of one port. When this goes, the port is free again, and what was started through it
// ends.
struct NestAgent {
  FileLock port;
  std::unique_ptr<session::FdAgentConnection> connection;
};

// Starts the nest if needed.
Result<NestAgent> open_agent(const Progress& progress);

// The same, and a `spore serve --stdio` in the nest: this very program, by its path.
Result<std::unique_ptr<session::Host>> open_nest_host(const Progress& progress);

}  // namespace spore::nest
