// One control port of the nest: a virtio-serial port that the client on the host holds for as long
// as it likes, served by one process per client.
#pragma once

#include <atomic>
#include <string>
#include <vector>

namespace spore::nest_init {

// Shared between PID 1 and the processes that serve ports.
struct SharedState {
  std::atomic<bool> power_off_asked{false};
};

struct Port {
  std::string device;  // /dev/vportNpM
  std::string name;    // spore.N
  std::string cgroup;  // of all that its clients start
};

// The ports whose names begin with "spore.", of which the kernel knows by now.
std::vector<Port> find_ports();

// The body of a port's process: waits for a client and serves it. `attached` becomes true when one
// has come. Returns when the client is gone.
void serve_port(const Port& port, std::atomic<bool>& attached, SharedState& shared);

}  // namespace spore::nest_init
