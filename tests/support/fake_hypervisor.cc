#include "support/fake_hypervisor.h"

namespace spore::testing {

class FakeVcpu final : public vm::Vcpu {
 public:
  FakeVcpu(FakeHypervisor& hypervisor, FakeCpu& cpu) : hypervisor_(hypervisor), cpu_(cpu) {}

  vm::VcpuExit run() override {
    std::unique_lock lock(cpu_.mutex_);
    cpu_.unfinished_ = false;
    cpu_.changed_.wait(lock, [this] { return cpu_.kicked_ || !cpu_.steps_.empty(); });
    if (std::exchange(cpu_.kicked_, false)) {
      return vm::ExitInterrupted{};
    }
    cpu_.current_ = std::move(cpu_.steps_.front());
    cpu_.steps_.pop_front();
    if (auto* mmio = std::get_if<vm::ExitMmio>(&cpu_.current_.exit)) {
      mmio->data = cpu_.current_.data;
      cpu_.unfinished_ = true;
    } else if (auto* port = std::get_if<vm::ExitPort>(&cpu_.current_.exit)) {
      port->data = cpu_.current_.data;
      cpu_.unfinished_ = true;
    }
    return cpu_.current_.exit;
  }

  vm::VcpuExit settle() override {
    const std::lock_guard lock(cpu_.mutex_);
    if (std::exchange(cpu_.unfinished_, false)) {
      ++cpu_.settled_;
    }
    return vm::ExitInterrupted{};
  }

  void kick() override {
    const std::lock_guard lock(cpu_.mutex_);
    cpu_.kicked_ = true;
    cpu_.changed_.notify_all();
  }
  void clear_kick() override {
    const std::lock_guard lock(cpu_.mutex_);
    cpu_.kicked_ = false;
  }

  Result<isa::CpuState> save() override {
    if (hypervisor_.fail_saves_) {
      return fail(ErrorCode::kInternal, "reading a vCPU's registers: told to fail");
    }
    return state_;
  }
  Result<void> restore(const isa::CpuState& state) override {
    state_ = state;
    return {};
  }

 private:
  FakeHypervisor& hypervisor_;
  FakeCpu& cpu_;
  isa::CpuState state_;
};

class FakeVm final : public vm::HypervisorVm {
 public:
  FakeVm(FakeHypervisor& hypervisor, std::size_t number)
      : hypervisor_(hypervisor), number_(number) {}
  Result<void> map_memory(std::uint32_t, std::uint64_t, std::span<std::byte>) override {
    return {};
  }
  Result<void> create_interrupt_controller() override { return {}; }
  Result<std::unique_ptr<vm::Vcpu>> create_vcpu(std::uint32_t index, std::uint32_t) override {
    return std::make_unique<FakeVcpu>(hypervisor_, hypervisor_.cpu(number_, index));
  }
  Result<void> signal_msi(std::uint64_t, std::uint32_t) override { return {}; }
  Result<void> collect_written(std::vector<vm::SlotPage>& pages) override {
    const std::lock_guard lock(hypervisor_.mutex_);
    pages.insert(pages.end(), hypervisor_.written_.begin(), hypervisor_.written_.end());
    hypervisor_.written_.clear();
    return {};
  }
  Result<void> watch_again() override { return {}; }
  Result<vm::VmClock> save_clock() override { return clock_; }
  Result<void> restore_clock(const vm::VmClock& clock) override {
    clock_ = clock;
    return {};
  }

 private:
  FakeHypervisor& hypervisor_;
  std::size_t number_;
  vm::VmClock clock_;
};

void FakeCpu::push(Step step) {
  const std::lock_guard lock(mutex_);
  steps_.push_back(std::move(step));
  changed_.notify_all();
}

void FakeCpu::write_mmio(std::uint64_t address, std::vector<std::byte> data) {
  push({vm::ExitMmio{address, {}, true}, std::move(data)});
}

void FakeCpu::write_port(std::uint16_t port, std::vector<std::byte> data) {
  push({vm::ExitPort{port, data.size(), {}, true}, std::move(data)});
}

void FakeCpu::stop_with(vm::VcpuExit exit) {
  push({std::move(exit), {}});
}

int FakeCpu::settled_accesses() const {
  const std::lock_guard lock(mutex_);
  return settled_;
}

std::size_t FakeCpu::pending() const {
  const std::lock_guard lock(mutex_);
  return steps_.size();
}

FakeCpu& FakeHypervisor::cpu(std::size_t machine, std::size_t index) {
  const std::lock_guard lock(mutex_);
  for (auto& [key, cpu] : cpus_) {
    if (key == std::pair{machine, index}) {
      return *cpu;
    }
  }
  return *cpus_.emplace_back(std::pair{machine, index}, std::make_unique<FakeCpu>()).second;
}

void FakeHypervisor::will_tell_written(std::vector<vm::SlotPage> pages) {
  const std::lock_guard lock(mutex_);
  written_ = std::move(pages);
}

Result<std::unique_ptr<vm::HypervisorVm>> FakeHypervisor::create_vm(vm::WriteTracking) {
  std::size_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = machines_++;
  }
  return std::make_unique<FakeVm>(*this, number);
}

}  // namespace spore::testing
