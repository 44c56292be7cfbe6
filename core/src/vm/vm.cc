// Making, capturing and closing machines. The vCPU threads are in vm_run.cc.
#include "vm/vm.h"

#include <fmt/format.h>

#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "isa/board.h"
#include "vm/entropy.h"

namespace spore::vm {
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

Result<std::unique_ptr<Vm>> Vm::boot(Hypervisor& hypervisor, const VmConfig& config,
                                     const isa::BootImage& image, Generation generation,
                                     std::shared_ptr<VmObserver> observer) {
  SPORE_TRY(check_config(config));
  std::unique_ptr<Vm> vm(new Vm(config, std::move(generation), std::move(observer)));
  for (const std::string& path : config.images) {
    auto disk = virtio::FileBlockBackend::open(path, /*writable=*/false);
    if (!disk) {
      return fail(disk.error().with_context("attaching a root image"));
    }
    vm->disks_.push_back(std::move(*disk));
  }
  SPORE_ASSIGN(vm->shell_, Shell::for_boot(hypervisor, {config.memory_bytes, config.cpus}));
  SPORE_TRY(vm->make_devices(DeviceSetState{}));
  Vcpu& first = *vm->shell_->vcpus().front();
  SPORE_ASSIGN(isa::CpuState state, first.save());
  SPORE_TRY(isa::load_linux(vm->shell_->ram().memory(), config.cpus, image, state));
  SPORE_TRY(first.restore(state));
  SPORE_TRY(vm->write_generation_page());
  return vm;
}

Result<std::unique_ptr<Vm>> Vm::fork(std::unique_ptr<Shell> shell,
                                     const std::shared_ptr<const Capture>& capture,
                                     Generation generation, std::shared_ptr<VmObserver> observer,
                                     ForkTimings& timings) {
  SPORE_CHECK(shell->shape() == capture->shape());
  std::unique_ptr<Vm> vm(new Vm(capture->config, std::move(generation), std::move(observer)));
  vm->shell_ = std::move(shell);
  vm->disks_ = capture->disks;
  auto before = Clock::now();
  const auto lap = [&before](std::uint64_t& phase) {
    const auto now = Clock::now();
    phase = base::microseconds_between(before, now);
    before = now;
  };
  vm->watch_ram();
  SPORE_ASSIGN(const auto loaded, vm->shell_->load(capture->ram));
  timings.pages_checked = loaded.checked;
  timings.pages_copied = loaded.copied;
  lap(timings.memory_us);
  DeviceSetState devices = capture->state.devices;
  devices.generation.number = vm->generation_.number;
  SPORE_TRY(vm->make_devices(devices));
  SPORE_TRY(vm->write_generation_page());
  lap(timings.devices_us);
  SPORE_TRY(vm->restore_cpus(capture->state));
  lap(timings.cpus_us);
  const std::lock_guard lock(vm->device_mutex_);
  vm->devices_->resume();
  vm->generation_untold_ = true;
  vm->records_working_set_ = capture->ram->working_set() == nullptr;
  return vm;
}

Vm::~Vm() {
  close();
  stop_watching_ram();
}

// Called while a device or a vCPU waits for the page, so without the device lock.
void Vm::watch_ram() {
  shell_->ram().on_lost_page([this](const Error& error) {
    ram_lost_ = true;
    end(EndReason::kEngineFailed,
        error.with_context("a page of the machine's RAM could not be loaded").message());
  });
}

void Vm::stop_watching_ram() {
  if (shell_) {
    shell_->ram().on_lost_page({});
  }
}

Result<void> Vm::make_devices(const DeviceSetState& state) {
  DeviceSetOptions options;
  options.disks = disks_;
  options.console = [this](std::string_view text) {
    if (!ram_lost_) {
      console_.append(text);
    }
  };
  options.msi = [this](std::uint64_t address, std::uint32_t data) {
    // Fails only for a message that no local APIC accepts, which is the guest's affair.
    static_cast<void>(shell_->machine().signal_msi(address, data).has_value());
  };
  options.doorbell = [this](wire::DoorbellCommand command) { ring(command); };
  options.agent_bytes = [this](std::string_view bytes) {
    if (ram_lost_) {
      return;
    }
    // The agent has given the kernel its new entropy and answers; only now the kernel's own driver
    // hears of the fork, whose work would otherwise be paid for before the first answer.
    if (std::exchange(generation_untold_, false)) {
      devices_->notify_generation();
    } else if (std::exchange(records_working_set_, false)) {
      record_working_set();
    }
    observer_->on_agent_bytes(bytes);
  };
  options.agent_closed = [this] {
    end(EndReason::kEngineFailed, "the guest's agent closed its connection");
  };
  SPORE_ASSIGN(devices_, DeviceSet::create(std::move(options), shell_->ram().memory(), state));
  return {};
}

Result<void> Vm::restore_cpus(const VmState& state) {
  const auto vcpus = shell_->vcpus();
  SPORE_CHECK(state.cpus.size() == vcpus.size());
  SPORE_TRY(shell_->machine().restore_clock(state.clock));
  for (std::size_t i = 0; i < vcpus.size(); ++i) {
    SPORE_TRY(vcpus[i]->restore(state.cpus[i]));
  }
  return {};
}

Result<void> Vm::write_generation_page() {
  SPORE_ASSIGN(const wire::GenerationPage page,
               devices::make_generation_page(
                   generation_, {fill_with_entropy, std::chrono::system_clock::now()}));
  SPORE_CHECK(shell_->ram().memory().store(isa::kGenerationPage, page));
  return {};
}

void Vm::start() {
  const std::lock_guard lifecycle(lifecycle_mutex_);
  SPORE_CHECK(!started_ && shell_);
  started_ = true;
  {
    const std::lock_guard lock(control_mutex_);
    alive_ = shell_->vcpus().size();
  }
  shell_->threads().run([this](std::size_t index) { vcpu_thread(index); });
}

void Vm::send_to_agent(std::string_view bytes) {
  const std::lock_guard lock(device_mutex_);
  if (!devices_) {
    return;
  }
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
  if (!shell_) {
    return fail(ErrorCode::kMachineEnded, "taking a spore: the machine has ended");
  }
  SPORE_TRY(shell_->collect_written());
  SPORE_ASSIGN(auto image, shell_->ram().capture());
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
      Capture{config_, std::move(*state), std::move(image), disks_, generation_});
}

void Vm::close() {
  const std::lock_guard lifecycle(lifecycle_mutex_);
  end(EndReason::kClosed, {});
  if (started_ && shell_) {
    shell_->threads().wait();
  }
}

std::unique_ptr<Shell> Vm::release_shell() {
  close();
  const std::lock_guard lifecycle(lifecycle_mutex_);
  stop_watching_ram();
  const std::lock_guard devices_lock(device_mutex_);
  devices_.reset();
  const std::lock_guard lock(control_mutex_);
  std::unique_ptr<Shell> shell = std::move(shell_);
  // After a panic, a triple fault or a failure of the engine nobody knows what is left.
  const bool in_order =
      end_->reason == EndReason::kClosed || end_->reason == EndReason::kPoweredOff;
  return shell && shell->reusable() && in_order && shell_is_sound_ ? std::move(shell) : nullptr;
}

Result<MachineStats> Vm::stats() const {
  const std::lock_guard lifecycle(lifecycle_mutex_);
  if (!shell_) {
    return fail(ErrorCode::kMachineEnded, "reading a machine's statistics: it has ended");
  }
  MachineStats stats;
  stats.memory_bytes = config_.memory_bytes;
  SPORE_ASSIGN(stats.private_bytes, shell_->ram().private_bytes());
  stats.shared_bytes = shell_->ram().shared_bytes();
  stats.exits = exits_.load();
  return stats;
}

}  // namespace spore::vm
