// KvmVcpu: one vCPU of KVM. The generic half (run, exits, kick) is in kvm_vcpu.cc; the half that
// knows registers is in kvm/<isa>/.
#pragma once

#include <linux/kvm.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/mapping.h"
#include "base/unique_fd.h"
#include "kvm/common/flexible.h"
#include "kvm/common/kvm_system.h"
#include "vm/hypervisor.h"

namespace spore::kvm {

class KvmVcpu final : public vm::Vcpu {
 public:
  static Result<std::unique_ptr<KvmVcpu>> create(std::shared_ptr<KvmSystem> system,
                                                 base::UniqueFd fd, std::uint32_t index,
                                                 std::uint32_t count);
  vm::VcpuExit run() override;
  vm::VcpuExit settle() override;
  void kick() override;
  void clear_kick() override;
  Result<isa::CpuState> save() override;
  Result<void> restore(const isa::CpuState& state) override;

 private:
  KvmVcpu(std::shared_ptr<KvmSystem> system, base::UniqueFd fd, base::Mapping run_area,
          std::uint32_t index)
      : system_(std::move(system)),
        fd_(std::move(fd)),
        run_area_(std::move(run_area)),
        index_(index) {}
  [[nodiscard]] kvm_run& area() const noexcept {
    return *reinterpret_cast<kvm_run*>(run_area_.data());
  }
  vm::VcpuExit translate_exit();

  // x86_64/vcpu_state.cc
  Result<void> save_system_registers(isa::CpuState& state);
  Result<void> save_msrs(isa::CpuState& state);
  Result<void> save_events(isa::CpuState& state);
  Result<void> restore_system_registers(const isa::CpuState& state);
  Result<void> set_tsc_khz(std::uint32_t wanted);
  Result<void> restore_msrs(const std::vector<isa::Msr>& msrs);
  // Registers and events that were restored take effect in the next KVM_RUN, without a call for
  // each, where KVM can do that; this makes them take effect now.
  Result<void> apply_deferred();

  std::shared_ptr<KvmSystem> system_;
  base::UniqueFd fd_;
  base::Mapping run_area_;
  const std::uint32_t index_;
  std::uint32_t tsc_khz_ = 0;   // as it was set; 0: not yet
  bool pristine_ = true;        // as KVM made it: nothing was restored, nothing has run
  std::atomic<int> runner_{0};  // the thread in run(), 0 when there is none
};

// x86_64/cpuid.cc: the CPUID that vCPU `index` of `count` shows its guest.
CpuidTable guest_cpuid(const KvmSystem& system, std::uint32_t index, std::uint32_t count);
Result<void> set_cpuid(const KvmSystem& system, int vcpu_fd, std::uint32_t index,
                       std::uint32_t count);

}  // namespace spore::kvm
