// The KVM engine: /dev/kvm of this host, in this process.
#pragma once

#include <memory>

#include "spore/result.h"
#include "vm/hypervisor.h"

namespace spore::kvm {

// Opens /dev/kvm and checks the capabilities that Spore needs; an Error names what is missing.
// Does not prove that a stock kernel can run: that is probe_kvm().
Result<std::unique_ptr<vm::Hypervisor>> create_kvm_hypervisor();

// Runs a few real instructions at ring 0 in a throw-away VM. Some hosts offer a /dev/kvm that
// emulates ring 0 incompletely and cannot run an unmodified kernel; the Error says what happened.
Result<void> probe_kvm();

}  // namespace spore::kvm
