// VmState: everything of a machine but its RAM, as a plain value, and its JSON: the `vm` section of
// a spore on disk (snapshot/FORMAT.md). Hostile when it was read from there: of each field only the
// type is checked here, the sense by whoever is restored from it.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "isa/cpu_state_json.h"
#include "vm/device_set.h"
#include "vm/hypervisor.h"

namespace spore::vm {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VmClock, guest_nanoseconds)

struct VmState {
  std::vector<isa::CpuState> cpus;
  VmClock clock;
  DeviceSetState devices;
  bool operator==(const VmState&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VmState, cpus, clock, devices)

}  // namespace spore::vm
