// Vm: one machine, from its boot or fork to its end: devices and a run loop, in a shell
// (vm/shell.h) that it has for itself and gives back when it is over. Putting a used machine back
// to a spore is forking that spore into the shell that the old machine gave back.
//
// Threads: each vCPU has a thread of its own. Devices are used under one lock per machine, by vCPU
// threads (exits) and by callers (send_to_agent). A capture stops all vCPUs at an instruction
// boundary; the last one to stop saves the state. Public functions may be called from any thread
// but from an observer's callback.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "isa/boot.h"
#include "spore/machine.h"
#include "spore/result.h"
#include "vm/console_log.h"
#include "vm/hypervisor.h"
#include "vm/shell.h"
#include "vm/vm_state.h"

namespace spore::vm {

// Called from vCPU threads with the device lock held (on_agent_bytes) or none; must not call the
// Vm.
class VmObserver {
 public:
  virtual ~VmObserver() = default;
  virtual void on_agent_bytes(std::string_view bytes) = 0;
  virtual void on_captured(const CaptureTimings& timings) = 0;
  virtual void on_ended(const MachineEnd& end) = 0;  // the last call
};

struct VmConfig {
  std::uint64_t memory_bytes = 0;
  std::uint32_t cpus = 1;
  std::vector<std::string> images;
};

// kInvalidArgument for a machine that this board cannot be.
Result<void> check_config(const VmConfig& config);

// A captured machine; immutable.
struct Capture {
  VmConfig config;
  VmState state;
  std::shared_ptr<const memory::RamImage> ram;
  std::vector<std::shared_ptr<virtio::BlockBackend>> disks;  // the images, open
  Generation generation;                                     // of the machine that was captured
  [[nodiscard]] ShellShape shape() const noexcept { return {config.memory_bytes, config.cpus}; }
};

class Vm {
 public:
  // Makes a machine that will boot the kernel; start() lets it run.
  static Result<std::unique_ptr<Vm>> boot(Hypervisor& hypervisor, const VmConfig& config,
                                          const isa::BootImage& image, Generation generation,
                                          std::shared_ptr<VmObserver> observer);
  // Makes a machine that goes on where `capture` was taken, as another generation, in a shell of
  // the capture's shape: a new one, or one that another machine gave back. `timings` has its
  // phases; what it says of the shell is the caller's.
  static Result<std::unique_ptr<Vm>> fork(std::unique_ptr<Shell> shell,
                                          const std::shared_ptr<const Capture>& capture,
                                          Generation generation,
                                          std::shared_ptr<VmObserver> observer,
                                          ForkTimings& timings);
  ~Vm();  // closes

  void start();
  void send_to_agent(std::string_view bytes);
  // After on_captured(). The machine then goes on, or is closed.
  Result<std::shared_ptr<const Capture>> take_capture(bool keep_running);
  void close();
  // Closes, and gives the shell back; nothing when no other machine could use it. What is asked of
  // this machine afterwards is answered as of a machine that has ended.
  std::unique_ptr<Shell> release_shell();

  [[nodiscard]] const Generation& generation() const noexcept { return generation_; }
  [[nodiscard]] Result<MachineStats> stats() const;
  [[nodiscard]] std::string console_text() const { return console_.text(); }

 private:
  enum class Command { kRun, kPause, kStop };
  using Clock = std::chrono::steady_clock;

  Vm(VmConfig config, Generation generation, std::shared_ptr<VmObserver> observer)
      : config_(std::move(config)),
        generation_(std::move(generation)),
        observer_(std::move(observer)) {}

  Result<void> make_devices(const DeviceSetState& state);
  Result<void> restore_cpus(const VmState& state);
  Result<void> write_generation_page();

  void vcpu_thread(std::size_t index);
  void run_vcpu(Vcpu& vcpu);
  // False: the machine is over.
  bool handle_exit(VcpuExit& exit);
  void handle_mmio(const ExitMmio& exit);
  void handle_port(const ExitPort& exit);
  void record_working_set();
  void settle(Vcpu& vcpu);
  void finish_instruction(Vcpu& vcpu);
  // Waits until the machine goes on; false: it is over.
  bool park();
  void finish_capture();
  Result<VmState> save_state();
  void ring(wire::DoorbellCommand command);
  void order(Command command);
  void end(EndReason reason, std::string detail);
  void end_after_shutdown();
  void watch_ram();
  void stop_watching_ram();

  const VmConfig config_;
  const Generation generation_;
  const std::shared_ptr<VmObserver> observer_;
  ConsoleLog console_;

  std::unique_ptr<Shell> shell_;  // replaced only when everything has stopped, under all locks
  std::vector<std::shared_ptr<virtio::BlockBackend>> disks_;

  mutable std::mutex device_mutex_;
  std::unique_ptr<DeviceSet> devices_;  // under device_mutex_; none once the shell was given back
  bool standing_still_ = false;         // under device_mutex_: from the doorbell to going on
  bool generation_untold_ = false;      // under device_mutex_: to the guest's VMGENID driver
  bool records_working_set_ = false;    // under device_mutex_: once its workload shows life
  std::string bytes_for_later_;         // under device_mutex_: sent to the agent meanwhile
  std::atomic<std::uint64_t> exits_{0};
  // A page of its RAM was not to be had: what its guest and its devices say from then on may come
  // of zeros that were read instead, and nobody hears it.
  std::atomic<bool> ram_lost_{false};

  std::atomic<Command> command_{Command::kRun};
  std::mutex control_mutex_;
  std::condition_variable control_;
  std::size_t parked_ = 0;    // under control_mutex_, as all below
  std::size_t alive_ = 0;     // vCPU threads that have not ended
  std::uint64_t pauses_ = 0;  // how often the machine was told to go on
  std::optional<MachineEnd> end_;
  std::optional<VmState> captured_;
  Clock::time_point doorbell_time_;
  bool shell_is_sound_ = true;          // false: its state may not be what a restore expects
  mutable std::mutex lifecycle_mutex_;  // start, take_capture, close, stats: one at a time
  bool started_ = false;                // under lifecycle_mutex_
};

}  // namespace spore::vm
