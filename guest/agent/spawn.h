// Starting one process: descriptors, session, cgroup, user, working directory, program.
// The request comes from the host and is only checked for what would hurt the agent.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/unique_fd.h"
#include "wire/agent_protocol.h"

namespace spore::agent {

// The agent's ends. With a terminal, `in` and `out` are the pty's master and `err` is not there.
struct Spawned {
  pid_t pid = -1;
  base::UniqueFd in;
  base::UniqueFd out;
  base::UniqueFd err;
  base::UniqueFd channel_in;   // two descriptors of one socket, so that each direction is watched
  base::UniqueFd channel_out;  // by itself
};

struct StartFailure {
  int error_number = 0;
  std::string message;
};

// `cgroup_procs`: the cgroup.procs file that the process enters before it runs; empty for none.
tl::expected<Spawned, StartFailure> spawn(const wire::ExecMessage& request,
                                          const std::string& cgroup_procs);

}  // namespace spore::agent
