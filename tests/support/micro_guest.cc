#include "support/micro_guest.h"

#include "arch/x86_64/boot_cpu.h"
#include "base/check.h"

namespace spore::testing {
namespace {

constexpr std::uint64_t kUser = 1 << 2;
constexpr std::uint64_t kEntryBytes = 8;
constexpr std::uint64_t kEntriesPerTable = 512;
constexpr std::uint64_t kTables = 6;
constexpr std::uint64_t kIoPrivilegeLevel3 = 3 << 12;
constexpr std::uint64_t kCr4OsFxsr = 1 << 9;  // SSE instructions are allowed

// What the boot tables map for the kernel, for user mode too.
void open_to_user_mode(const memory::GuestMemory& memory) {
  for (std::uint64_t i = 0; i < kTables * kEntriesPerTable; ++i) {
    const memory::GuestAddress at = isa::kBootPageTables + i * kEntryBytes;
    const auto entry = memory.load<std::uint64_t>(at);
    SPORE_CHECK(entry.has_value());
    if (*entry != 0) {
      SPORE_CHECK(memory.store(at, *entry | kUser));
    }
  }
}

}  // namespace

void load_micro_guest(const memory::GuestMemory& memory, std::span<const std::uint8_t> code,
                      isa::CpuState& state) {
  isa::enter_long_mode(memory, state);
  open_to_user_mode(memory);
  SPORE_CHECK(memory.write(kMicroCode, std::as_bytes(code)));
  for (isa::Segment* segment : {&state.cs, &state.ds, &state.es, &state.fs, &state.gs, &state.ss}) {
    segment->dpl = 3;
    segment->selector = static_cast<std::uint16_t>(segment->selector | 3);
  }
  state.cr4 |= kCr4OsFxsr;
  state.rflags |= kIoPrivilegeLevel3;
  state.rip = kMicroCode;
  state.gpr[isa::kRsp] = kMicroStackTop;
}

MicroGuest make_micro_guest(vm::Hypervisor& hypervisor, std::span<const std::uint8_t> code,
                            std::uint64_t memory_bytes) {
  MicroGuest guest;
  guest.ram = memory::Ram::create({{0, memory_bytes}}).value();
  guest.machine = hypervisor.create_vm(vm::WriteTracking::kOff).value();
  SPORE_CHECK(guest.machine->map_memory(0, 0, guest.ram->memory().regions().front().bytes));
  SPORE_CHECK(guest.machine->create_interrupt_controller());
  guest.vcpu = guest.machine->create_vcpu(0, 1).value();
  isa::CpuState state = guest.vcpu->save().value();
  load_micro_guest(guest.ram->memory(), code, state);
  SPORE_CHECK(guest.vcpu->restore(state));
  return guest;
}

}  // namespace spore::testing
