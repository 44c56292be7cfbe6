// What a guest of this host's KVM finds: for the platform contract of spores.
#pragma once

#include "kvm/common/kvm_system.h"
#include "vm/hypervisor.h"

namespace spore::kvm {

Result<vm::GuestPlatform> guest_platform(const KvmSystem& system);

}  // namespace spore::kvm
