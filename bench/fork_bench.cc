// Forking a micro guest: from the order to fork until the child's first exit has been handled, and
// destroying it; beside the floor, which is the bare sequence of system calls that any VMM needs to
// get a VM of that memory size to its first exit. Interleaved, so that both see the same machine.
// Both are told in their terms. Prints JSON lines: {"name", "memory_mib", "p50_us", "p99_us"}.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/check.h"
#include "isa/board.h"
#include "kvm/common/flexible.h"
#include "kvm/common/kvm_system.h"
#include "kvm/kvm_hypervisor.h"
#include "micro.h"

namespace spore::bench {
namespace {

constexpr int kRounds = 200;
constexpr int kWarmUp = 20;

struct Sample {
  double to_first_exit = 0;
  double destroy = 0;
  std::map<std::string, double> terms;  // of what it took to the first exit
};

// Names the time since it was asked last.
class Terms {
 public:
  void end(const char* name) {
    const auto now = Clock::now();
    values_[name] = microseconds(last_, now);
    last_ = now;
  }
  std::map<std::string, double> take() { return std::move(values_); }

 private:
  Clock::time_point last_ = Clock::now();
  std::map<std::string, double> values_;
};

Sample fork_once(vm::Hypervisor& hypervisor, const std::shared_ptr<const vm::Capture>& capture) {
  const auto waiter = std::make_shared<Waiter>();
  const auto start = Clock::now();
  ForkTimings timings;
  auto vm = vm::Vm::fork(vm::Shell::for_forks(hypervisor, capture->shape(), capture->ram).value(),
                         capture, child_of(*capture), waiter, timings)
                .value();
  const auto built = Clock::now();
  vm->start();
  waiter->await_end();
  const auto exited = Clock::now();
  vm.reset();
  const auto us = [](std::uint64_t value) { return static_cast<double>(value); };
  const double whole = microseconds(start, built);
  return {microseconds(start, exited),
          microseconds(exited, Clock::now()),
          {{"shell", whole - us(timings.memory_us + timings.devices_us + timings.cpus_us)},
           {"memory", us(timings.memory_us)},
           {"devices", us(timings.devices_us)},
           {"state", us(timings.cpus_us)},
           {"run", microseconds(built, exited)}}};
}

// What no VMM can do without: VM, memory, interrupt controller, vCPU, CPUID, registers, run.
Sample floor_once(const kvm::KvmSystem& system, const vm::Capture& capture) {
  const isa::CpuState& cpu = capture.state.cpus.front();
  kvm::CpuidTable cpuid(system.supported_cpuid().size());
  std::copy(system.supported_cpuid().begin(), system.supported_cpuid().end(),
            cpuid.entries().begin());
  const auto start = Clock::now();
  Terms terms;
  const auto size = capture.ram->size();
  void* ram = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
                     capture.ram->base_fd(), 0);
  SPORE_CHECK(ram != MAP_FAILED);
  const int machine = kvm::kvm_ioctl(system.fd(), KVM_CREATE_VM, "creating a VM").value();
  terms.end("VM");
  std::uint64_t offset = 0;
  std::uint32_t slot = 0;
  for (const memory::RamPiece& piece : isa::ram_layout(size)) {
    kvm_userspace_memory_region region{slot++, 0, piece.base, piece.size,
                                       reinterpret_cast<std::uint64_t>(ram) + offset};
    SPORE_CHECK(::ioctl(machine, KVM_SET_USER_MEMORY_REGION, &region) == 0);
    offset += piece.size;
  }
  terms.end("memory slots");
  kvm_enable_cap split{};
  split.cap = KVM_CAP_SPLIT_IRQCHIP;
  split.args[0] = 24;
  SPORE_CHECK(::ioctl(machine, KVM_ENABLE_CAP, &split) == 0);
  const int vcpu = ::ioctl(machine, KVM_CREATE_VCPU, 0);
  SPORE_CHECK(vcpu >= 0);
  void* area = ::mmap(nullptr, system.run_area_size(), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  SPORE_CHECK(area != MAP_FAILED);
  SPORE_CHECK(::ioctl(vcpu, kvm::kSetCpuid2, cpuid.data()) == 0);
  terms.end("vCPU");
  kvm_sregs sregs{};
  SPORE_CHECK(::ioctl(vcpu, KVM_GET_SREGS, &sregs) == 0);
  sregs.cr0 = cpu.cr0;
  sregs.cr3 = cpu.cr3;
  sregs.cr4 = cpu.cr4;
  sregs.efer = cpu.efer;
  for (kvm_segment* segment : {&sregs.ds, &sregs.es, &sregs.fs, &sregs.gs, &sregs.ss, &sregs.cs}) {
    *segment = {0, 0xffffffff, 0x1b, 3, 1, 3, 1, 1, 0, 1, 0, 0, 0};
  }
  sregs.cs.selector = 0x13;
  sregs.cs.type = 11;
  sregs.cs.l = 1;
  sregs.cs.db = 0;
  SPORE_CHECK(::ioctl(vcpu, KVM_SET_SREGS, &sregs) == 0);
  kvm_regs regs{};
  regs.rip = cpu.rip;
  regs.rcx = cpu.gpr[isa::kRcx];
  regs.rflags = cpu.rflags;
  SPORE_CHECK(::ioctl(vcpu, KVM_SET_REGS, &regs) == 0);
  terms.end("state");
  SPORE_CHECK(::ioctl(vcpu, KVM_RUN, 0) == 0);
  SPORE_CHECK(static_cast<kvm_run*>(area)->exit_reason == KVM_EXIT_MMIO);
  terms.end("run");
  const auto exited = Clock::now();
  ::munmap(area, system.run_area_size());
  ::close(vcpu);
  ::close(machine);
  ::munmap(ram, size);
  return {microseconds(start, exited), microseconds(exited, Clock::now()), terms.take()};
}

void report_samples(const std::string& suffix, std::uint64_t mib,
                    const std::vector<Sample>& samples) {
  std::map<std::string, std::vector<double>> values;
  for (const Sample& sample : samples) {
    values["fork to first exit" + suffix].push_back(sample.to_first_exit);
    values["destroy" + suffix].push_back(sample.destroy);
    for (const auto& [name, us] : sample.terms) {
      values["fork to first exit" + suffix + ": " + name].push_back(us);
    }
  }
  for (const auto& [name, all] : values) {
    report(name, mib, all);
  }
}

void measure(std::uint64_t mib) {
  auto hypervisor = kvm::create_kvm_hypervisor().value();
  const auto system = kvm::KvmSystem::open().value();
  const auto capture = capture_micro_guest(*hypervisor, mib * kMiB);
  std::vector<Sample> ours, bare;
  for (int i = 0; i < kRounds + kWarmUp; ++i) {
    Sample fork = fork_once(*hypervisor, capture);
    Sample floor = floor_once(*system, *capture);
    if (i >= kWarmUp) {
      ours.push_back(std::move(fork));
      bare.push_back(std::move(floor));
    }
  }
  report_samples("", mib, ours);
  report_samples(", floor", mib, bare);
}

}  // namespace
}  // namespace spore::bench

int main() {
  if (auto usable = spore::kvm::create_kvm_hypervisor(); !usable) {
    fmt::print(stderr, "fork_bench: {}\n", usable.error().message());
    return 77;
  }
  for (const std::uint64_t mib : {128, 1024, 8192}) {
    spore::bench::measure(mib);
  }
  return 0;
}
