// JSON of the public values about machines, one list each: for messages and for documents.
#pragma once

#include <nlohmann/json.hpp>

#include "spore/disk.h"
#include "spore/machine.h"
#include "wire/optional_json.h"

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
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SaveOptions, annotations, flat, whole)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SavedSpore, id, path, parent, memory_bytes, content_bytes,
                                   file_bytes, chunks, ram_us, flat_us, publish_us)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LoadOptions, kernel, flat)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LoadedSpore, id, path, parent, memory_bytes, cpus, annotations,
                                   fork, backing, load_us)

}  // namespace spore
