#include "kvm/common/kvm_system.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "kvm/common/flexible.h"

namespace spore::kvm {
namespace {

struct RequiredCapability {
  int number;
  std::string_view name;
};

constexpr std::array kRequired = {
    RequiredCapability{KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP"},
    RequiredCapability{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    RequiredCapability{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
    RequiredCapability{KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK"},
    RequiredCapability{KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
    RequiredCapability{KVM_CAP_XCRS, "KVM_CAP_XCRS"},
    RequiredCapability{KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
    RequiredCapability{KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
    RequiredCapability{KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
    RequiredCapability{KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2"},
};

}  // namespace

Result<int> kvm_ioctl(int fd, unsigned long request, void* argument, std::string_view attempted) {
  int answer = 0;
  do {
    answer = ::ioctl(fd, request, argument);
  } while (answer < 0 && errno == EINTR);
  if (answer < 0) {
    return fail(Error::from_errno(errno, attempted));
  }
  return answer;
}

Result<int> kvm_ioctl(int fd, unsigned long request, std::string_view attempted) {
  return kvm_ioctl(fd, request, nullptr, attempted);
}

Result<std::shared_ptr<KvmSystem>> KvmSystem::open() {
  std::shared_ptr<KvmSystem> system(new KvmSystem());
  system->fd_.reset(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!system->fd_.valid()) {
    const int error = errno;
    const std::string_view advice =
        error == ENOENT   ? "; this host offers no KVM (no hardware virtualization, or a container "
                            "without the device)"
        : error == EACCES ? "; add yourself to the group that owns it (usually kvm)"
                          : "";
    Error opened = Error::from_errno(error, "opening /dev/kvm");
    return fail(ErrorCode::kUnavailable, fmt::format("{}{}", opened.message(), advice));
  }
  SPORE_TRY(system->check_capabilities());
  SPORE_TRY(system->load_cpuid());
  SPORE_TRY(system->load_msr_indices());
  return system;
}

Result<void> KvmSystem::check_capabilities() {
  SPORE_ASSIGN(const int version, kvm_ioctl(fd(), KVM_GET_API_VERSION, "asking KVM's version"));
  if (version != KVM_API_VERSION) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("/dev/kvm speaks API version {}, not {}", version, KVM_API_VERSION));
  }
  const auto extension = [this](int number) { return ::ioctl(fd(), KVM_CHECK_EXTENSION, number); };
  for (const RequiredCapability& capability : kRequired) {
    if (extension(capability.number) <= 0) {
      return fail(ErrorCode::kUnavailable,
                  fmt::format("/dev/kvm lacks {}; a newer host kernel has it", capability.name));
    }
  }
  const int xsave_size = extension(KVM_CAP_XSAVE2);
  xsave_size_ = xsave_size > 0 ? static_cast<std::size_t>(xsave_size) : sizeof(XsaveArea);
  set_at_run_ = static_cast<std::uint64_t>(std::max(extension(KVM_CAP_SYNC_REGS), 0));
  has_tsc_deadline_ = extension(KVM_CAP_TSC_DEADLINE_TIMER) > 0;
  SPORE_ASSIGN(const int run_area,
               kvm_ioctl(fd(), KVM_GET_VCPU_MMAP_SIZE, "asking the size of a vCPU's run area"));
  run_area_size_ = static_cast<std::size_t>(run_area);
  return {};
}

Result<void> KvmSystem::load_cpuid() {
  CpuidTable table(/*count=*/512);
  SPORE_TRY(kvm_ioctl(fd(), kGetSupportedCpuid, table.data(), "asking KVM's supported CPUID"));
  supported_cpuid_.assign(table.entries().begin(), table.entries().end());
  return {};
}

Result<void> KvmSystem::load_msr_indices() {
  MsrList none(0);
  if (::ioctl(fd(), kGetMsrIndexList, none.data()) < 0 && errno != E2BIG) {
    return fail(Error::from_errno(errno, "asking how many MSRs KVM keeps"));
  }
  MsrList list(none.header().count);
  SPORE_TRY(kvm_ioctl(fd(), kGetMsrIndexList, list.data(), "listing the MSRs that KVM keeps"));
  msr_indices_.assign(list.entries().begin(), list.entries().end());
  return {};
}

bool KvmSystem::is_read_only_msr(std::uint32_t index) const {
  const std::lock_guard lock(mutex_);
  return read_only_msrs_.contains(index);
}

void KvmSystem::remember_read_only_msr(std::uint32_t index) {
  const std::lock_guard lock(mutex_);
  read_only_msrs_.insert(index);
}

}  // namespace spore::kvm
