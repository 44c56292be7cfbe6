// WriteTracker: which pages of a VM's memory slots were written, told by KVM. Two ways
// (Documentation/virt/kvm/api.rst, 8.29 and 4.8): the dirty ring, which costs what was written; and
// the dirty log, a bitmap per slot, where the kernel has no ring.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/mapping.h"
#include "kvm/common/kvm_system.h"
#include "vm/hypervisor.h"

namespace spore::kvm {

// Not thread-safe.
class WriteTracker {
 public:
  // Before any memory or vCPU is made.
  static Result<std::unique_ptr<WriteTracker>> create(const KvmSystem& system, int vm_fd);
  virtual ~WriteTracker() = default;

  virtual Result<void> add_slot(std::uint32_t slot, std::uint64_t size) = 0;
  virtual Result<void> add_vcpu(int vcpu_fd) = 0;
  // As vm::HypervisorVm says.
  virtual Result<void> collect(std::vector<vm::SlotPage>& pages) = 0;
  virtual Result<void> watch_again() = 0;
};

}  // namespace spore::kvm
