#include "kvm/kvm_hypervisor.h"

#include <mutex>
#include <optional>
#include <utility>

#include "kvm/common/guest_platform.h"
#include "kvm/common/kvm_system.h"
#include "kvm/common/kvm_vm.h"

namespace spore::kvm {
namespace {

class KvmHypervisor final : public vm::Hypervisor {
 public:
  explicit KvmHypervisor(std::shared_ptr<KvmSystem> system) : system_(std::move(system)) {}
  Result<vm::GuestPlatform> platform() override {
    const std::lock_guard lock(mutex_);
    if (!platform_) {
      SPORE_ASSIGN(platform_, guest_platform(*system_));
    }
    return *platform_;
  }
  Result<std::unique_ptr<vm::HypervisorVm>> create_vm(vm::WriteTracking tracking) override {
    SPORE_ASSIGN(std::unique_ptr<vm::HypervisorVm> created, KvmVm::create(system_, tracking));
    return created;
  }

 private:
  std::shared_ptr<KvmSystem> system_;
  std::mutex mutex_;
  std::optional<vm::GuestPlatform> platform_;  // under mutex_; to find it out takes a VM
};

}  // namespace

Result<std::unique_ptr<vm::Hypervisor>> create_kvm_hypervisor() {
  SPORE_ASSIGN(auto system, KvmSystem::open());
  return std::unique_ptr<vm::Hypervisor>(std::make_unique<KvmHypervisor>(std::move(system)));
}

}  // namespace spore::kvm
