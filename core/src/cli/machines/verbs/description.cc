#include "cli/machines/verbs/description.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

namespace spore::cli::machines {

nlohmann::json to_json(const Entry& entry) {
  nlohmann::json object = {{"name", entry.name}, {"state", to_string(entry.state)}};
  if (!entry.record) {
    return object;
  }
  const MonitorRecord& record = *entry.record;
  object.update({{"engine", record.engine},
                 {"memory_bytes", record.memory_bytes},
                 {"cpus", record.cpus},
                 {"created", record.created},
                 {"age_seconds", std::max<std::int64_t>(0, std::time(nullptr) - record.created)},
                 {"generation", record.generation},
                 {"monitor_pid", record.pid}});
  if (record.ended) {
    object["end"] = {{"reason", record.end_reason}, {"message", record.end}};
  }
  return object;
}

std::string age_text(std::int64_t seconds) {
  constexpr std::int64_t kMinute = 60;
  constexpr std::int64_t kHour = 60 * kMinute;
  constexpr std::int64_t kDay = 24 * kHour;
  if (seconds < 2 * kMinute) {
    return fmt::format("{}s", std::max<std::int64_t>(seconds, 0));
  }
  if (seconds < 2 * kHour) {
    return fmt::format("{}m", seconds / kMinute);
  }
  return seconds < 2 * kDay ? fmt::format("{}h", seconds / kHour)
                            : fmt::format("{}d", seconds / kDay);
}

}  // namespace spore::cli::machines
