#include "kvm/common/kvm_vm.h"

#include <fmt/format.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <utility>

#include "base/check.h"
#include "kvm/common/kvm_vcpu.h"

namespace spore::kvm {
namespace {

constexpr std::uint32_t kIoapicPins = 24;

}  // namespace

Result<std::unique_ptr<KvmVm>> KvmVm::create(std::shared_ptr<KvmSystem> system,
                                             vm::WriteTracking tracking) {
  // Can be interrupted while the kernel starts a worker thread of the VM; kvm_ioctl() retries.
  SPORE_ASSIGN(const int fd, kvm_ioctl(system->fd(), KVM_CREATE_VM, "creating a VM"));
  std::unique_ptr<KvmVm> vm(new KvmVm(std::move(system), base::UniqueFd(fd)));
  if (tracking == vm::WriteTracking::kOn) {
    SPORE_ASSIGN(vm->tracker_, WriteTracker::create(fd));
  }
  return vm;
}

Result<void> KvmVm::map_memory(std::uint32_t slot, std::uint64_t address,
                               std::span<std::byte> bytes) {
  kvm_userspace_memory_region region{};
  region.slot = slot;
  region.guest_phys_addr = address;
  region.memory_size = bytes.size();
  region.userspace_addr = reinterpret_cast<std::uint64_t>(bytes.data());
  region.flags = tracker_ ? KVM_MEM_LOG_DIRTY_PAGES : 0;
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_SET_USER_MEMORY_REGION, &region, "mapping guest memory"));
  if (tracker_) {
    tracker_->add_slot(slot, bytes.size());
  }
  return {};
}

Result<void> KvmVm::create_interrupt_controller() {
  kvm_enable_cap capability{};
  capability.cap = KVM_CAP_SPLIT_IRQCHIP;
  capability.args[0] = kIoapicPins;
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_ENABLE_CAP, &capability, "enabling the split irqchip"));
  return {};
}

Result<std::unique_ptr<vm::Vcpu>> KvmVm::create_vcpu(std::uint32_t index, std::uint32_t count) {
  auto attempted = fmt::format("creating vCPU {}", index);
  int fd = 0;
  do {
    fd = ::ioctl(fd_.get(), KVM_CREATE_VCPU, static_cast<unsigned long>(index));
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) {
    return fail(Error::from_errno(errno, attempted));
  }
  auto vcpu = KvmVcpu::create(system_, base::UniqueFd(fd), index, count);
  if (!vcpu) {
    return fail(vcpu.error().with_context(attempted));
  }
  return std::unique_ptr<vm::Vcpu>(std::move(*vcpu));
}

Result<void> KvmVm::signal_msi(std::uint64_t address, std::uint32_t data) {
  kvm_msi msi{};
  msi.address_lo = static_cast<std::uint32_t>(address);
  msi.address_hi = static_cast<std::uint32_t>(address >> 32);
  msi.data = data;
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_SIGNAL_MSI, &msi, "delivering an interrupt"));
  return {};
}

Result<void> KvmVm::collect_written(std::vector<vm::SlotPage>& pages) {
  SPORE_CHECK(tracker_ != nullptr);
  return tracker_->collect(pages);
}

Result<void> KvmVm::watch_again() {
  SPORE_CHECK(tracker_ != nullptr);
  return tracker_->watch_again();
}

Result<vm::VmClock> KvmVm::save_clock() {
  kvm_clock_data data{};
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_GET_CLOCK, &data, "reading the VM's clock"));
  return vm::VmClock{data.clock};
}

Result<void> KvmVm::restore_clock(const vm::VmClock& clock) {
  kvm_clock_data data{};
  data.clock = clock.guest_nanoseconds;
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_SET_CLOCK, &data, "setting the VM's clock"));
  return {};
}

}  // namespace spore::kvm
