// KvmVm: one VM of KVM. Memory first, then a split interrupt controller (local APICs in the kernel,
// the IOAPIC in core), then vCPUs: other orders wait for grace periods of the host kernel.
#pragma once

#include <memory>

#include "base/unique_fd.h"
#include "kvm/common/kvm_system.h"
#include "kvm/common/write_tracker.h"
#include "vm/hypervisor.h"

namespace spore::kvm {

class KvmVm final : public vm::HypervisorVm {
 public:
  static Result<std::unique_ptr<KvmVm>> create(std::shared_ptr<KvmSystem> system,
                                               vm::WriteTracking tracking);

  Result<void> map_memory(std::uint32_t slot, std::uint64_t address,
                          std::span<std::byte> bytes) override;
  Result<void> create_interrupt_controller() override;
  Result<std::unique_ptr<vm::Vcpu>> create_vcpu(std::uint32_t index, std::uint32_t count) override;
  Result<void> signal_msi(std::uint64_t address, std::uint32_t data) override;
  Result<void> collect_written(std::vector<vm::SlotPage>& pages) override;
  Result<void> watch_again() override;
  Result<vm::VmClock> save_clock() override;
  Result<void> restore_clock(const vm::VmClock& clock) override;

 private:
  KvmVm(std::shared_ptr<KvmSystem> system, base::UniqueFd fd)
      : system_(std::move(system)), fd_(std::move(fd)) {}

  std::shared_ptr<KvmSystem> system_;
  base::UniqueFd fd_;
  std::unique_ptr<WriteTracker> tracker_;  // none: writes are not tracked
};

}  // namespace spore::kvm
