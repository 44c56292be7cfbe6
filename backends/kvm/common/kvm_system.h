// KvmSystem: the open /dev/kvm and what was learnt from it once. Shared by all VMs of a process;
// immutable after creation but for the lock-protected list of MSRs that refuse writes.
#pragma once

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::kvm {

// ioctl(2) that retries EINTR and turns a failure into an Error that begins with `attempted`.
Result<int> kvm_ioctl(int fd, unsigned long request, std::string_view attempted);
Result<int> kvm_ioctl(int fd, unsigned long request, void* argument, std::string_view attempted);

class KvmSystem {
 public:
  static Result<std::shared_ptr<KvmSystem>> open();

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] std::size_t run_area_size() const noexcept { return run_area_size_; }
  [[nodiscard]] std::size_t xsave_size() const noexcept { return xsave_size_; }
  // What KVM_RUN takes from the run area (KVM_CAP_SYNC_REGS): a mask of KVM_SYNC_*.
  [[nodiscard]] std::uint64_t set_at_run() const noexcept { return set_at_run_; }
  [[nodiscard]] bool has_tsc_deadline() const noexcept { return has_tsc_deadline_; }
  [[nodiscard]] const std::vector<kvm_cpuid_entry2>& supported_cpuid() const noexcept {
    return supported_cpuid_;
  }
  [[nodiscard]] const std::vector<std::uint32_t>& msr_indices() const noexcept {
    return msr_indices_;
  }

  // MSRs that this kernel lists but does not let anyone write.
  [[nodiscard]] bool is_read_only_msr(std::uint32_t index) const;
  void remember_read_only_msr(std::uint32_t index);

 private:
  KvmSystem() = default;
  Result<void> check_capabilities();
  Result<void> load_cpuid();
  Result<void> load_msr_indices();

  base::UniqueFd fd_;
  std::size_t run_area_size_ = 0;
  std::size_t xsave_size_ = 0;
  std::uint64_t set_at_run_ = 0;
  bool has_tsc_deadline_ = false;
  std::vector<kvm_cpuid_entry2> supported_cpuid_;
  std::vector<std::uint32_t> msr_indices_;

  mutable std::mutex mutex_;
  std::set<std::uint32_t> read_only_msrs_;
};

}  // namespace spore::kvm
