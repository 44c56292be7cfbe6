// A section that is taken is what a child's AgentClient goes on from.
#include "session/agent_section.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spore;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto snapshot = session::read_agent_section(bytes, "it");
  if (!snapshot) {
    return 0;
  }
  if (session::write_agent_section(*snapshot) != bytes) {
    std::abort();
  }
  const auto client = session::AgentClient::clone_for_child(
      [](std::string_view) { return Result<void>(); }, *snapshot);
  const auto drain = [&] {
    for (const auto& [id, record] : snapshot->processes) {
      const auto process = client->process(id);
      for (std::size_t i = 0; process && i <= record.events.size(); ++i) {
        static_cast<void>(process->next_event(Milliseconds(0)));
      }
    }
  };
  drain();
  client->end({});
  drain();
  return 0;
}
