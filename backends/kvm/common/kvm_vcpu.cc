#include "kvm/common/kvm_vcpu.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>

namespace spore::kvm {
namespace {

// The signal whose only work is to interrupt KVM_RUN.
int kick_signal() {
  return SIGRTMIN + 1;
}

void install_kick_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(kick_signal(), &action, nullptr);
  });
}

}  // namespace

Result<std::unique_ptr<KvmVcpu>> KvmVcpu::create(std::shared_ptr<KvmSystem> system,
                                                 base::UniqueFd fd, std::uint32_t index,
                                                 std::uint32_t count) {
  install_kick_handler();
  SPORE_ASSIGN(base::Mapping run_area,
               base::Mapping::create(system->run_area_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
                                     fd.get(), 0, "mapping a vCPU's run area"));
  SPORE_TRY(set_cpuid(*system, fd.get(), index, count));
  return std::unique_ptr<KvmVcpu>(
      new KvmVcpu(std::move(system), std::move(fd), std::move(run_area), index));
}

vm::VcpuExit KvmVcpu::run() {
  pristine_ = false;
  runner_.store(static_cast<int>(::syscall(SYS_gettid)));
  const int answer = ::ioctl(fd_.get(), KVM_RUN, 0);
  const int error = errno;
  runner_.store(0);
  if (answer == 0) {
    return translate_exit();
  }
  if (error == EINTR || error == EAGAIN) {
    area().immediate_exit = 0;
    return vm::ExitInterrupted{};
  }
  return vm::ExitFailed{fmt::format("KVM_RUN failed: {}", std::strerror(error))};
}

vm::VcpuExit KvmVcpu::translate_exit() {
  kvm_run& area = this->area();
  switch (area.exit_reason) {
    case KVM_EXIT_MMIO:
      return vm::ExitMmio{area.mmio.phys_addr,
                          std::as_writable_bytes(std::span(area.mmio.data)).first(area.mmio.len),
                          area.mmio.is_write != 0};
    case KVM_EXIT_IO:
      return vm::ExitPort{
          area.io.port, area.io.size,
          run_area_.bytes().subspan(area.io.data_offset,
                                    static_cast<std::size_t>(area.io.size) * area.io.count),
          area.io.direction == KVM_EXIT_IO_OUT};
    case KVM_EXIT_HLT:
      return vm::ExitHalted{};
    case KVM_EXIT_SHUTDOWN:
      return vm::ExitShutdown{};
    case KVM_EXIT_SYSTEM_EVENT:
      return vm::ExitShutdown{};
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_IOAPIC_EOI:
      return vm::ExitInterrupted{};
    case KVM_EXIT_FAIL_ENTRY:
      return vm::ExitFailed{fmt::format("the CPU refused to enter the guest (reason {:#x})",
                                        area.fail_entry.hardware_entry_failure_reason)};
    case KVM_EXIT_INTERNAL_ERROR: {
      kvm_regs regs{};
      ::ioctl(fd_.get(), KVM_GET_REGS, &regs);
      return vm::ExitFailed{fmt::format("KVM could not go on (suberror {}{}) at rip {:#x}",
                                        area.internal.suberror,
                                        area.internal.suberror == KVM_INTERNAL_ERROR_EMULATION
                                            ? ", an instruction that it cannot emulate"
                                            : "",
                                        regs.rip)};
    }
    default:
      return vm::ExitFailed{fmt::format("KVM stopped for a reason unknown here ({})",
                                        std::uint32_t{area.exit_reason})};
  }
}

vm::VcpuExit KvmVcpu::settle() {
  area().immediate_exit = 1;
  return run();
}

void KvmVcpu::kick() {
  area().immediate_exit = 1;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  // One signal is enough for one run; a stream of them could keep the thread in its handler.
  if (const int runner = runner_.exchange(0); runner != 0) {
    ::syscall(SYS_tgkill, ::getpid(), runner, kick_signal());
  }
}

void KvmVcpu::clear_kick() {
  area().immediate_exit = 0;
}

}  // namespace spore::kvm
