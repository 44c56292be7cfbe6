#include "session/agent_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <utility>

#include "base/hex.h"
#include "snapshot/document.h"
#include "wire/machine_json.h"

namespace spore {

NLOHMANN_JSON_SERIALIZE_ENUM(OutputStream, {{OutputStream::kStdout, "stdout"},
                                            {OutputStream::kStderr, "stderr"},
                                            {OutputStream::kChannel, "channel"}})
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Exited, code, signal, out_of_memory)

}  // namespace spore

namespace spore::session {

// In the namespace of its type, where the library looks for it.
NLOHMANN_JSON_SERIALIZE_ENUM(ProcessRecord::Phase, {{ProcessRecord::Phase::kStarting, "starting"},
                                                    {ProcessRecord::Phase::kRunning, "running"},
                                                    {ProcessRecord::Phase::kOver, "over"}})
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ProcessRecord::OutputWindow, unacknowledged, taken)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ProcessRecord::InputWindow, credit, closed)

namespace {

nlohmann::json to_json(const ProcessEvent& event) {
  if (const auto* output = std::get_if<Output>(&event)) {
    return {{"stream", output->stream}, {"data", base::to_hex(output->data)}};
  }
  if (const auto* exited = std::get_if<Exited>(&event)) {
    return {{"exited", *exited}};
  }
  if (const auto* lost = std::get_if<Lost>(&event)) {
    return {{"lost", lost->end}};
  }
  return {{"fixture_point", true}};
}

ProcessEvent event_from(const nlohmann::json& json) {
  if (json.contains("exited")) {
    return json.at("exited").get<Exited>();
  }
  if (json.contains("lost")) {
    return Lost{json.at("lost").get<MachineEnd>()};
  }
  if (json.contains("fixture_point")) {
    return AtFixturePoint{};
  }
  auto data = base::from_hex(json.at("data").get_ref<const std::string&>());
  if (!data) {
    throw std::invalid_argument(data.error().message());
  }
  return Output{json.at("stream").get<OutputStream>(), std::move(*data)};
}

}  // namespace

void to_json(nlohmann::json& json, const ProcessRecord& record) {
  auto events = nlohmann::json::array();
  for (const ProcessEvent& event : record.events) {
    events.push_back(to_json(event));
  }
  json = {{"phase", record.phase},
          {"started", record.started},
          {"events", std::move(events)},
          {"output", record.output},
          {"input", record.input},
          {"fixture_points", record.fixture_points},
          {"start_failure", record.start_failure}};
}

void from_json(const nlohmann::json& json, ProcessRecord& record) {
  json.at("phase").get_to(record.phase);
  json.at("started").get_to(record.started);
  record.events.clear();
  for (const auto& event : json.at("events")) {
    record.events.push_back(event_from(event));
  }
  json.at("output").get_to(record.output);
  json.at("input").get_to(record.input);
  json.at("fixture_points").get_to(record.fixture_points);
  json.at("start_failure").get_to(record.start_failure);
}

namespace {

struct AgentSection {
  std::uint32_t protocol = wire::kAgentProtocolVersion;
  AgentSnapshot snapshot;
};

void to_json(nlohmann::json& json, const AgentSection& section) {
  auto processes = nlohmann::json::array();
  for (const auto& [id, record] : section.snapshot.processes) {
    processes.push_back({{"id", id}, {"record", record}});
  }
  json = {{"protocol", section.protocol},
          {"next_id", section.snapshot.next_id},
          {"processes", std::move(processes)}};
}

void from_json(const nlohmann::json& json, AgentSection& section) {
  json.at("protocol").get_to(section.protocol);
  json.at("next_id").get_to(section.snapshot.next_id);
  section.snapshot.processes.clear();
  for (const auto& process : json.at("processes")) {
    section.snapshot.processes.emplace(process.at("id").get<std::uint32_t>(),
                                       process.at("record").get<ProcessRecord>());
  }
}

bool makes_sense(const ProcessRecord& record) {
  std::size_t waiting = 0;
  for (const ProcessEvent& event : record.events) {
    const auto* output = std::get_if<Output>(&event);
    waiting += output != nullptr ? output->data.size() : 0;
  }
  const bool ends =
      std::all_of(record.events.begin(), record.events.end(), [](const ProcessEvent& event) {
        const auto* lost = std::get_if<Lost>(&event);
        return lost == nullptr || (lost->end.reason >= EndReason::kPoweredOff &&
                                   lost->end.reason <= EndReason::kPutBack);
      });
  const bool windows = std::all_of(record.output.begin(), record.output.end(),
                                   [](const ProcessRecord::OutputWindow& window) {
                                     return window.unacknowledged <= wire::kStreamWindow &&
                                            window.taken <= window.unacknowledged;
                                   });
  const bool credits = std::all_of(record.input.begin(), record.input.end(),
                                   [](const ProcessRecord::InputWindow& window) {
                                     return window.credit <= wire::kStreamWindow;
                                   });
  return ends && windows && credits && waiting <= record.output.size() * wire::kStreamWindow;
}

}  // namespace

std::string write_agent_section(const AgentSnapshot& snapshot) {
  // The messages in it are the guest's, and no UTF-8 if it likes.
  return nlohmann::json(AgentSection{wire::kAgentProtocolVersion, snapshot})
      .dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
}

Result<AgentSnapshot> read_agent_section(std::string_view bytes, std::string_view what) {
  SPORE_ASSIGN(const auto json, snapshot::parse_document(bytes, what));
  const auto version = json.is_object() ? json.value("protocol", nlohmann::json()) : json;
  if (version != wire::kAgentProtocolVersion) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("reading {}: its guest's agent speaks version {} of its protocol, this "
                            "program version {}: capture it again",
                            what, version.dump(), wire::kAgentProtocolVersion));
  }
  SPORE_ASSIGN(AgentSection section, snapshot::from_document<AgentSection>(bytes, what));
  if (section.snapshot.next_id == 0) {
    return fail(snapshot::not_such_a_document(what, "its next process cannot be 0"));
  }
  for (const auto& [id, record] : section.snapshot.processes) {
    if (id == 0 || id >= section.snapshot.next_id || !makes_sense(record)) {
      return fail(snapshot::not_such_a_document(
          what, fmt::format("process {} cannot be in that state", id)));
    }
  }
  return std::move(section.snapshot);
}

}  // namespace spore::session
