#include <array>
#include <string>

#include "fuzz/targets.h"
#include "session/agent_client.h"
#include "wire/frame.h"

namespace spore::fuzz {
namespace {

using session::AgentClient;

void feed(AgentClient& client, wire::AgentFrame type, std::uint64_t id, std::string_view payload) {
  std::string bytes;
  wire::encode_frame(static_cast<std::uint16_t>(type), id, payload, bytes);
  static_cast<void>(client.feed(bytes));
}

}  // namespace

void agent_client(std::string_view bytes) {
  const auto nowhere = [](std::string_view) -> Result<void> { return {}; };
  // A child with a process in each phase.
  session::AgentSnapshot snapshot;
  snapshot.processes[1].phase = session::ProcessRecord::Phase::kStarting;
  snapshot.processes[2].phase = session::ProcessRecord::Phase::kRunning;
  snapshot.processes[3].phase = session::ProcessRecord::Phase::kOver;
  snapshot.processes[3].events.emplace_back(Exited{});
  snapshot.next_id = 4;
  const auto client = AgentClient::clone_for_child(nowhere, snapshot);
  if (!bytes.empty() && bytes.front() % 2 == 0) {
    feed(*client, wire::AgentFrame::kGeneration, 0,
         wire::to_cbor(wire::GenerationMessage{1, "x", 2}));
  }
  const auto process = client->process(2);
  for (std::size_t piece = 1; !bytes.empty(); piece = piece * 2 + 1) {
    const std::string_view part = bytes.substr(0, piece);
    static_cast<void>(client->feed(part));
    static_cast<void>(process->next_event(Milliseconds{0}));
    bytes.remove_prefix(part.size());
  }
  client->end({});
  while (std::holds_alternative<Output>(*process->next_event(std::nullopt))) {
  }
}

}  // namespace spore::fuzz
