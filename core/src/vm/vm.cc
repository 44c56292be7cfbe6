// Making, capturing and closing machines. The vCPU threads are in vm_run.cc.
#include "vm/vm.h"

#include <fmt/format.h>

#include <utility>

#include "base/check.h"
#include "isa/board.h"
#include "vm/entropy.h"

namespace spore::vm {
namespace {

Result<void> check_config(const VmConfig& config) {
  constexpr std::uint64_t kUnit = 1024 * 1024;
  if (config.memory_bytes < isa::kMinMemory || config.memory_bytes > isa::kMaxMemory ||
      config.memory_bytes % kUnit != 0) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("a machine has {} to {} MiB of memory, a whole number of MiB; asked for "
                    "{:.1f} MiB",
                    isa::kMinMemory / kUnit, isa::kMaxMemory / kUnit,
                    static_cast<double>(config.memory_bytes) / kUnit));
  }
  if (config.cpus < 1 || config.cpus > isa::kMaxCpus) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("a machine has 1 to {} CPUs; asked for {}",
                                                         isa::kMaxCpus, config.cpus));
  }
  if (config.images.size() > isa::kMaxBlockDevices) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a machine has at most {} root images; asked for {}",
                            isa::kMaxBlockDevices, config.images.size()));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Vm>> Vm::boot(Hypervisor& hypervisor, const VmConfig& config,
                                     const isa::BootImage& image, Generation generation,
                                     std::shared_ptr<VmObserver> observer) {
  SPORE_TRY(check_config(config));
  std::unique_ptr<Vm> vm(new Vm(config, std::move(generation), std::move(observer)));
  SPORE_ASSIGN(auto ram, memory::Ram::create(isa::ram_layout(config.memory_bytes)));
  SPORE_TRY(vm->assemble(hypervisor, std::move(ram), DeviceSetState{}));
  SPORE_ASSIGN(isa::CpuState first, vm->vcpus_.front()->save());
  SPORE_TRY(isa::load_linux(vm->ram_->memory(), config.cpus, image, first));
  SPORE_TRY(vm->vcpus_.front()->restore(first));
  SPORE_TRY(vm->write_generation_page());
  return vm;
}

Result<std::unique_ptr<Vm>> Vm::fork(Hypervisor& hypervisor,
                                     const std::shared_ptr<const Capture>& capture,
                                     Generation generation, std::shared_ptr<VmObserver> observer) {
  std::unique_ptr<Vm> vm(new Vm(capture->config, std::move(generation), std::move(observer)));
  SPORE_ASSIGN(auto ram, memory::Ram::fork(capture->ram, isa::ram_layout(capture->ram->size())));
  DeviceSetState devices = capture->state.devices;
  devices.generation.number = vm->generation_.number;
  SPORE_TRY(vm->assemble(hypervisor, std::move(ram), devices));
  SPORE_TRY(vm->restore_cpus(capture->state));
  SPORE_TRY(vm->write_generation_page());
  const std::lock_guard lock(vm->device_mutex_);
  vm->devices_->resume();
  vm->generation_untold_ = true;
  return vm;
}

Vm::~Vm() {
  close();
}

Result<void> Vm::assemble(Hypervisor& hypervisor, std::unique_ptr<memory::Ram> ram,
                          const DeviceSetState& devices) {
  ram_ = std::move(ram);
  SPORE_ASSIGN(machine_, hypervisor.create_vm());
  std::uint32_t slot = 0;
  for (const memory::MemoryRegion& region : ram_->memory().regions()) {
    SPORE_TRY(machine_->map_memory(slot++, region.base, region.bytes));
  }
  SPORE_TRY(machine_->create_interrupt_controller());
  for (std::uint32_t i = 0; i < config_.cpus; ++i) {
    SPORE_ASSIGN(vcpus_.emplace_back(), machine_->create_vcpu(i, config_.cpus));
  }
  DeviceSetOptions options;
  options.images = config_.images;
  options.console = [this](std::string_view text) { console_.append(text); };
  options.msi = [this](std::uint64_t address, std::uint32_t data) {
    // Fails only for a message that no local APIC accepts, which is the guest's affair.
    static_cast<void>(machine_->signal_msi(address, data).has_value());
  };
  options.doorbell = [this](wire::DoorbellCommand command) { ring(command); };
  options.agent_bytes = [this](std::string_view bytes) {
    // The agent has given the kernel its new entropy and answers; only now the kernel's own driver
    // hears of the fork, whose work would otherwise be paid for before the first answer.
    if (std::exchange(generation_untold_, false)) {
      devices_->notify_generation();
    }
    observer_->on_agent_bytes(bytes);
  };
  options.agent_closed = [this] {
    end(EndReason::kEngineFailed, "the guest's agent closed its connection");
  };
  SPORE_ASSIGN(devices_, DeviceSet::create(std::move(options), ram_->memory(), devices));
  return {};
}

Result<void> Vm::restore_cpus(const VmState& state) {
  SPORE_CHECK(state.cpus.size() == vcpus_.size());
  SPORE_TRY(machine_->restore_clock(state.clock));
  for (std::size_t i = 0; i < vcpus_.size(); ++i) {
    SPORE_TRY(vcpus_[i]->restore(state.cpus[i]));
  }
  return {};
}

Result<void> Vm::write_generation_page() {
  SPORE_ASSIGN(const wire::GenerationPage page,
               devices::make_generation_page(
                   generation_, {fill_with_entropy, std::chrono::system_clock::now()}));
  SPORE_CHECK(ram_->memory().store(isa::kGenerationPage, page));
  return {};
}

void Vm::start() {
  const std::lock_guard lifecycle(lifecycle_mutex_);
  SPORE_CHECK(threads_.empty());
  {
    const std::lock_guard lock(control_mutex_);
    alive_ = vcpus_.size();
  }
  for (std::size_t i = 0; i < vcpus_.size(); ++i) {
    threads_.emplace_back([this, i] { vcpu_thread(i); });
  }
}

void Vm::send_to_agent(std::string_view bytes) {
  const std::lock_guard lock(device_mutex_);
  if (standing_still_) {
    bytes_for_later_.append(bytes);
  } else {
    devices_->send_to_agent(bytes);
  }
}

Result<std::shared_ptr<const Capture>> Vm::take_capture(bool keep_running) {
  std::optional<VmState> state;
  {
    const std::lock_guard lock(control_mutex_);
    if (!captured_ || end_) {
      return fail(ErrorCode::kMachineEnded,
                  "taking a spore: the machine has not rung its doorbell, or has ended");
    }
    state = std::exchange(captured_, std::nullopt);
  }
  if (!keep_running) {
    close();
  }
  const std::lock_guard lifecycle(lifecycle_mutex_);
  SPORE_ASSIGN(auto image, ram_->capture());
  if (keep_running) {
    {
      const std::lock_guard lock(device_mutex_);
      standing_still_ = false;
      devices_->send_to_agent(std::exchange(bytes_for_later_, {}));
    }
    const std::lock_guard lock(control_mutex_);
    ++pauses_;
    parked_ = 0;
    command_ = Command::kRun;
    control_.notify_all();
  }
  return std::make_shared<const Capture>(
      Capture{config_, std::move(*state), std::move(image), generation_});
}

void Vm::close() {
  const std::lock_guard lifecycle(lifecycle_mutex_);
  end(EndReason::kClosed, {});
  for (std::thread& thread : threads_) {
    thread.join();
  }
  threads_.clear();
}

Result<MachineStats> Vm::stats() const {
  MachineStats stats;
  stats.memory_bytes = config_.memory_bytes;
  SPORE_ASSIGN(stats.private_bytes, ram_->private_bytes());
  stats.shared_bytes = ram_->shared_bytes();
  stats.exits = exits_.load();
  return stats;
}

}  // namespace spore::vm
