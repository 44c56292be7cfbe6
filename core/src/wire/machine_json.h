// JSON of the public values about machines, one list each: for messages and for documents.
#pragma once

#include <nlohmann/json.hpp>

#include "spore/disk.h"
#include "spore/machine.h"

namespace spore {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MachineConfig, memory_bytes, cpus, kernel, images, hostname)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ForkParameters, child_index, child_count, shard_index,
                                   shard_count, name, hostname, user)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Generation, number, id, parent_id, parameters)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MachineEnd, reason, detail, console_tail)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MachineStats, memory_bytes, private_bytes, shared_bytes, exits)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CaptureTimings, freeze_us, pause_us)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ForkTimings, build_us, shell_us, memory_us, devices_us, cpus_us,
                                   agent_us, user_us, reset, pages_checked, pages_copied)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SaveOptions, annotations, flat)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SavedSpore, id, path, parent, memory_bytes, content_bytes,
                                   file_bytes, chunks, ram_us, flat_us, publish_us)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LoadOptions, kernel, flat)

inline void to_json(nlohmann::json& json, const LoadedSpore& spore) {
  json = {{"id", spore.id},
          {"path", spore.path},
          {"parent", spore.parent},
          {"memory_bytes", spore.memory_bytes},
          {"cpus", spore.cpus},
          {"annotations", spore.annotations},
          {"fork", spore.fork ? nlohmann::json(*spore.fork) : nlohmann::json()},
          {"backing", spore.backing},
          {"load_us", spore.load_us}};
}
inline void from_json(const nlohmann::json& json, LoadedSpore& spore) {
  json.at("id").get_to(spore.id);
  json.at("path").get_to(spore.path);
  json.at("parent").get_to(spore.parent);
  json.at("memory_bytes").get_to(spore.memory_bytes);
  json.at("cpus").get_to(spore.cpus);
  json.at("annotations").get_to(spore.annotations);
  spore.fork.reset();
  if (const auto& fork = json.at("fork"); !fork.is_null()) {
    spore.fork = fork.get<ForkParameters>();
  }
  json.at("backing").get_to(spore.backing);
  json.at("load_us").get_to(spore.load_us);
}

}  // namespace spore
