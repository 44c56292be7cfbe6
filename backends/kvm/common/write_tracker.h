// WriteTracker: which pages of a VM's memory slots were written, told by KVM's dirty log, a bitmap
// for each slot (Documentation/virt/kvm/api.rst, 4.8 and 4.117).
//
// Not the dirty ring (8.29): a full one protects again what it told, and pages that a guest writes
// all the time are most of what it tells from then on.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "spore/result.h"
#include "vm/hypervisor.h"

namespace spore::kvm {

// Not thread-safe.
class WriteTracker {
 public:
  // Before any memory or vCPU is made.
  static Result<std::unique_ptr<WriteTracker>> create(int vm_fd);

  // `size` in bytes.
  void add_slot(std::uint32_t number, std::uint64_t size);

  // As vm::HypervisorVm says.
  Result<void> collect(std::vector<vm::SlotPage>& pages);
  Result<void> watch_again();

 private:
  struct Slot {
    std::uint32_t number = 0;
    std::vector<std::uint64_t> bitmap;
    std::uint32_t pages = 0;
  };
  explicit WriteTracker(int vm_fd) : vm_fd_(vm_fd) {}

  const int vm_fd_;
  std::vector<Slot> slots_;
};

}  // namespace spore::kvm
