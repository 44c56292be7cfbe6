// MicroGuest: a few bytes of machine code in user mode (ring 3) of a VM, with memory of its own.
// User mode, because some hosts run it natively but emulate ring 0 badly; I/O ports are open to it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>

#include "memory/ram.h"
#include "vm/hypervisor.h"

namespace spore::testing {

inline constexpr std::uint64_t kMicroCode = 0x10000;
inline constexpr std::uint64_t kMicroData = 0x20000;
inline constexpr std::uint64_t kMicroStackTop = 0x30000;
inline constexpr std::uint64_t kMicroDevice = 0xd0000000;  // mapped, but no RAM: accesses exit

struct MicroGuest {
  std::unique_ptr<memory::Ram> ram;
  std::unique_ptr<vm::HypervisorVm> machine;
  std::unique_ptr<vm::Vcpu> vcpu;
};

// A machine that will run `code` at kMicroCode. CHECKs every step: for tests and benchmarks.
MicroGuest make_micro_guest(vm::Hypervisor& hypervisor, std::span<const std::uint8_t> code,
                            std::uint64_t memory_bytes = 2 * 1024 * 1024);

// Tables and code in memory, and `state` (as the hypervisor made it) pointing to them.
void load_micro_guest(const memory::GuestMemory& memory, std::span<const std::uint8_t> code,
                      isa::CpuState& state);

}  // namespace spore::testing
