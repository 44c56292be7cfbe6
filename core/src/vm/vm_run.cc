// The vCPU threads of a machine: running, exits, standing still for a capture, ending.
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "vm/vm.h"

namespace spore::vm {
namespace {

constexpr std::size_t kTailLines = 40;
// A wide access has a few exits; a guest cannot make one instruction need more than these.
constexpr int kMaxFragments = 16;

// The line in which a kernel says why it gave up, if it did.
std::string panic_line(const std::string& console) {
  constexpr std::string_view kMark = "Kernel panic - not syncing";
  const std::size_t at = console.rfind(kMark);
  if (at == std::string::npos) {
    return {};
  }
  return console.substr(at, console.find_first_of("\r\n", at) - at);
}

}  // namespace

void Vm::vcpu_thread(std::size_t index) {
  Vcpu& vcpu = *shell_->vcpus()[index];
  run_vcpu(vcpu);
  finish_instruction(vcpu);
  std::optional<MachineEnd> end;
  {
    const std::lock_guard lock(control_mutex_);
    if (--alive_ == 0) {
      end = end_;
      end->console_tail = console_.tail(kTailLines);
    }
  }
  if (end) {
    observer_->on_ended(*end);
  }
}

void Vm::run_vcpu(Vcpu& vcpu) {
  for (;;) {
    switch (command_.load()) {
      case Command::kStop:
        return;
      case Command::kPause:
        settle(vcpu);
        if (!park()) {
          return;
        }
        vcpu.clear_kick();
        break;
      case Command::kRun: {
        VcpuExit exit = vcpu.run();
        exits_.fetch_add(1, std::memory_order_relaxed);
        if (!handle_exit(exit)) {
          return;
        }
        break;
      }
    }
  }
}

bool Vm::handle_exit(VcpuExit& exit) {
  if (ram_lost_) {
    return false;
  }
  if (const auto* mmio = std::get_if<ExitMmio>(&exit)) {
    handle_mmio(*mmio);
  } else if (const auto* port = std::get_if<ExitPort>(&exit)) {
    handle_port(*port);
  } else if (std::holds_alternative<ExitShutdown>(exit)) {
    end_after_shutdown();
    return false;
  } else if (const auto* failed = std::get_if<ExitFailed>(&exit)) {
    end(EndReason::kEngineFailed, failed->why);
    return false;
  }
  return true;
}

void Vm::handle_mmio(const ExitMmio& exit) {
  const std::lock_guard lock(device_mutex_);
  if (exit.is_write) {
    devices_->mmio().write(exit.address, exit.data);
  } else {
    devices_->mmio().read(exit.address, exit.data);
  }
}

void Vm::handle_port(const ExitPort& exit) {
  const std::lock_guard lock(device_mutex_);
  for (std::size_t at = 0; at < exit.data.size(); at += exit.size) {
    const auto data = exit.data.subspan(at, exit.size);
    if (exit.is_write) {
      devices_->ports().write(exit.port, data);
    } else {
      devices_->ports().read(exit.port, data);
    }
  }
}

// Of the first machine of a spore: what it needed on its way to its first sign of life, which is
// the first that its agent says of its own accord. A failure costs those that follow some time.
void Vm::record_working_set() {
  if (shell_->reusable() && shell_->collect_written()) {
    static_cast<void>(shell_->ram().record_working_set());
  }
}

void Vm::settle(Vcpu& vcpu) {
  for (int i = 0; i < kMaxFragments; ++i) {
    VcpuExit exit = vcpu.settle();
    if (std::holds_alternative<ExitInterrupted>(exit) || !handle_exit(exit)) {
      return;
    }
  }
  end(EndReason::kEngineFailed, "a vCPU did not come to the end of its instruction");
}

// Whoever has the vCPU next sets its whole state, which an access under way would change again.
void Vm::finish_instruction(Vcpu& vcpu) {
  bool finished = false;
  for (int i = 0; i < kMaxFragments && !finished; ++i) {
    finished = std::holds_alternative<ExitInterrupted>(vcpu.settle());
  }
  vcpu.clear_kick();
  if (!finished) {
    const std::lock_guard lock(control_mutex_);
    shell_is_sound_ = false;
  }
}

bool Vm::park() {
  std::unique_lock lock(control_mutex_);
  const std::uint64_t pause = pauses_;
  if (++parked_ == shell_->vcpus().size() && !end_) {
    // All others wait below: this thread alone looks at the machine.
    lock.unlock();
    finish_capture();
    lock.lock();
  }
  control_.wait(lock, [&] { return end_.has_value() || pauses_ != pause; });
  return !end_;
}

void Vm::finish_capture() {
  auto state = save_state();
  if (!state) {
    end(EndReason::kEngineFailed, state.error().message());
    return;
  }
  CaptureTimings timings;
  {
    const std::lock_guard lock(control_mutex_);
    timings.pause_us = base::microseconds_between(doorbell_time_, Clock::now());
    captured_ = std::move(*state);
  }
  observer_->on_captured(timings);
}

Result<VmState> Vm::save_state() {
  VmState state;
  for (const auto& vcpu : shell_->vcpus()) {
    SPORE_ASSIGN(state.cpus.emplace_back(), vcpu->save());
  }
  SPORE_ASSIGN(state.clock, shell_->machine().save_clock());
  const std::lock_guard lock(device_mutex_);
  state.devices = devices_->state();
  return state;
}

void Vm::ring(wire::DoorbellCommand command) {
  switch (command) {
    case wire::DoorbellCommand::kCapture: {
      if (standing_still_) {
        return;  // a second vCPU of a misbehaving guest rang as well
      }
      standing_still_ = true;
      {
        const std::lock_guard lock(control_mutex_);
        doorbell_time_ = Clock::now();
      }
      order(Command::kPause);
      return;
    }
    case wire::DoorbellCommand::kPowerOff:
      end(EndReason::kPoweredOff, {});
      return;
    case wire::DoorbellCommand::kReady:
      return;
  }
}

void Vm::order(Command command) {
  Command running = Command::kRun;
  if (command == Command::kStop) {
    command_ = command;
  } else if (!command_.compare_exchange_strong(running, command)) {
    return;  // it is stopping already
  }
  const std::lock_guard lock(control_mutex_);
  if (shell_) {
    for (const auto& vcpu : shell_->vcpus()) {
      vcpu->kick();
    }
  }
}

void Vm::end(EndReason reason, std::string detail) {
  {
    const std::lock_guard lock(control_mutex_);
    if (end_) {
      return;
    }
    end_ = MachineEnd{reason, std::move(detail), {}};
  }
  order(Command::kStop);
  control_.notify_all();
}

void Vm::end_after_shutdown() {
  std::string panic = panic_line(console_.text());
  if (!panic.empty()) {
    end(EndReason::kPanicked, std::move(panic));
  } else {
    end(EndReason::kReset, "a reset or a triple fault, without a panic message");
  }
}

}  // namespace spore::vm
