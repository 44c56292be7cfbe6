// The agent: one loop that serves one control stream (wire/agent_protocol.h). It is PID 1 of a
// machine, and can as well serve any other stream as an ordinary process (the nest's init runs one
// per port; unit tests run it on a socket pair). One thread.
#pragma once

#include <string>

#include "agent/generation.h"
#include "spore/result.h"

namespace spore::agent {

struct AgentOptions {
  // The workload's cgroup, below /sys/fs/cgroup. Empty: no cgroups, so nothing can be frozen.
  std::string cgroup_root;
  // Where the fixture-point socket (agent.sock) lies. Empty: there is none.
  std::string run_directory;
  // Borrowed. Null: the machine cannot be captured, and says that it is index 0 of 1.
  Generation* generation = nullptr;
};

enum class AgentEnd {
  kStreamEnded,  // the host is gone, or sent what no host sends
  kShutdown,     // the host asked for it
};

// Serves until the end. All processes that were started have ended and are reaped on return.
Result<AgentEnd> run_agent(int control_fd, const AgentOptions& options);

}  // namespace spore::agent
