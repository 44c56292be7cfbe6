// Hypervisor, HypervisorVm, Vcpu: what a backend must provide; everything above is the same for all
// of them. The run loop, devices and capture are in core, once. A new backend implements these
// three and passes tests/contract/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "isa/cpu_state.h"
#include "spore/result.h"

namespace spore::vm {

// Why a vCPU stopped. The spans lie in the backend's run area and are valid until the next run();
// for a read, filling `data` gives the guest its value.
struct ExitMmio {
  std::uint64_t address = 0;
  std::span<std::byte> data;
  bool is_write = false;
};
struct ExitPort {  // x86 I/O ports; `count` accesses of `size` bytes each, all at the same port
  std::uint16_t port = 0;
  std::size_t size = 0;
  std::span<std::byte> data;
  bool is_write = false;
};
struct ExitHalted {};       // HLT, where the backend does not wait for the interrupt itself
struct ExitShutdown {};     // triple fault or a reset by the guest
struct ExitInterrupted {};  // kick(), or a signal
struct ExitFailed {         // the hypervisor cannot go on; the machine is lost
  std::string why;
};
using VcpuExit =
    std::variant<ExitMmio, ExitPort, ExitHalted, ExitShutdown, ExitInterrupted, ExitFailed>;

// Threads: run(), settle(), save() and restore() from one thread at a time; kick() from any.
class Vcpu {
 public:
  virtual ~Vcpu() = default;
  virtual VcpuExit run() = 0;
  // Finishes the instruction of the last MMIO or port exit without running further ones; to be
  // repeated until it gives ExitInterrupted (a wide access has several exits). Needed before
  // save(): a state saved in the middle of an instruction replays the access in every child.
  virtual VcpuExit settle() = 0;
  // Makes a run() that is under way, or else the next one, return ExitInterrupted soon.
  virtual void kick() = 0;
  // Takes back a kick() that no run() has consumed.
  virtual void clear_kick() = 0;
  virtual Result<isa::CpuState> save() = 0;
  virtual Result<void> restore(const isa::CpuState& state) = 0;
};

struct VmClock {
  std::uint64_t guest_nanoseconds = 0;  // the paravirtual clock's reading
  bool operator==(const VmClock&) const = default;
};

// A page of guest RAM, as a place in a memory slot.
struct SlotPage {
  std::uint32_t slot = 0;
  std::uint64_t page = 0;  // offset in the slot / 4096
};

class HypervisorVm {
 public:
  virtual ~HypervisorVm() = default;
  // Makes `bytes` the guest's RAM at `address`. All memory is mapped before the interrupt
  // controller or a vCPU is made (mapping it later costs a grace period of the host kernel). Slots
  // are numbered by the caller, from 0. The bytes must outlive this object.
  virtual Result<void> map_memory(std::uint32_t slot, std::uint64_t address,
                                  std::span<std::byte> bytes) = 0;
  virtual Result<void> create_interrupt_controller() = 0;
  virtual Result<std::unique_ptr<Vcpu>> create_vcpu(std::uint32_t index, std::uint32_t count) = 0;
  // Delivers a message-signalled interrupt.
  virtual Result<void> signal_msi(std::uint64_t address, std::uint32_t data) = 0;
  // For a VM that tracks writes. Appends the pages that its vCPUs, or the hypervisor on their
  // behalf, wrote since they were last watched; what was appended before may be left out. Writes of
  // this process are not seen. While vCPUs run, what they write just now may be missed until later.
  virtual Result<void> collect_written(std::vector<SlotPage>& pages) = 0;
  // Watches the pages again that were collected: until then a write to one of them costs the guest
  // nothing, and is not told again.
  virtual Result<void> watch_again() = 0;
  virtual Result<VmClock> save_clock() = 0;
  virtual Result<void> restore_clock(const VmClock& clock) = 0;
};

enum class WriteTracking { kOff, kOn };

// What a guest finds here, as far as a machine from elsewhere has to find the same.
struct GuestPlatform {
  std::string backend;
  std::string cpu_vendor;
  std::vector<std::string> cpu_features;  // ascending
  std::string clock;
  std::uint32_t tsc_khz = 0;
  bool scales_tsc = false;  // a guest's TSC can run at another frequency
};

class Hypervisor {
 public:
  virtual ~Hypervisor() = default;
  virtual Result<GuestPlatform> platform() = 0;
  virtual Result<std::unique_ptr<HypervisorVm>> create_vm(WriteTracking tracking) = 0;
};

}  // namespace spore::vm
