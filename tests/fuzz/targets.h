// What is fuzzed: each target takes hostile bytes and must neither crash, hang nor grow without
// bound. Built as fuzzers with SPORE_FUZZ=ON (Clang), and replayed from seeds by unit tests.
#pragma once

#include <string_view>

namespace spore::fuzz {

// A guest's side of the agent protocol, into an AgentClient in the midst of its work.
void agent_client(std::string_view bytes);
// A server's side of the host protocol, into a RemoteHost.
void remote_host(std::string_view bytes);
// A client's side of the host protocol, into serve().
void serve(std::string_view bytes);
// A client's side of the monitor's protocol, into a Connection of a machine's monitor.
void machine_monitor(std::string_view bytes);
// A monitor's side of it, into a MonitorClient.
void machine_client(std::string_view bytes);

}  // namespace spore::fuzz
