// Can this host's KVM run an unmodified kernel? A throw-away VM executes, at ring 0 in 64-bit mode,
// instructions that an incomplete emulation of privileged code gets wrong: SSE moves, cmpxchg16b,
// xsave, a control-register round trip, and enough iterations of a loop to tell execution from
// emulation by an interpreter. It then writes a known value to a port.
#include <sys/mman.h>

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "arch/x86_64/boot_cpu.h"
#include "base/mapping.h"
#include "kvm/kvm_hypervisor.h"

namespace spore::kvm {
namespace {

constexpr std::size_t kMemorySize = 2 * 1024 * 1024;
constexpr std::uint64_t kCodeAddress = 0x10000;
constexpr std::uint64_t kStackTop = 0x20000;
constexpr std::uint16_t kResultPort = 0x7e;
constexpr std::uint8_t kResultValue = 0x5a;
constexpr auto kTimeLimit = std::chrono::seconds(5);

// clang-format off
constexpr auto kProgram = std::to_array<std::uint8_t>({
    0x0f, 0x20, 0xe0,                          // mov rax, cr4
    0x0d, 0x00, 0x06, 0x04, 0x00,              // or eax, OSFXSR | OSXMMEXCPT | OSXSAVE
    0x0f, 0x22, 0xe0,                          // mov cr4, rax
    0x31, 0xc9, 0x31, 0xd2, 0xb8, 0x03, 0, 0, 0,  // xor ecx, ecx; xor edx, edx; mov eax, 3
    0x0f, 0x01, 0xd1,                          // xsetbv
    0x48, 0xc7, 0xc7, 0x00, 0x00, 0x03, 0x00,  // mov rdi, 0x30000
    0xb8, 0x5a, 0, 0, 0,                       // mov eax, kResultValue
    0x66, 0x0f, 0x6e, 0xc0,                    // movd xmm0, eax
    0x0f, 0x29, 0x07,                          // movaps [rdi], xmm0
    0x31, 0xdb,                                // xor ebx, ebx
    0xbb, 0x5a, 0, 0, 0,                       // mov ebx, kResultValue
    0x48, 0x31, 0xc9, 0x48, 0x31, 0xd2,        // xor rcx, rcx; xor rdx, rdx
    0xf0, 0x48, 0x0f, 0xc7, 0x0f,              // lock cmpxchg16b [rdi]
    0x75, 0x1e,                                // jne fail
    0xb8, 0x03, 0, 0, 0, 0x31, 0xd2,           // mov eax, 3; xor edx, edx
    0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00,  // add rdi, 0x1000
    0x0f, 0xae, 0x27,                          // xsave [rdi]
    0x0f, 0x28, 0x8f, 0xa0, 0x00, 0x00, 0x00,  // movaps xmm1, [rdi + 0xa0]  (saved xmm0)
    0x66, 0x0f, 0x7e, 0xc8,                    // movd eax, xmm1
    0xe6, 0x7e,                                // out kResultPort, al
    0xf4,                                      // fail: hlt
});
// clang-format on

// Kicks the vCPU when the probe takes too long; stops as soon as it is destroyed.
class Watchdog {
 public:
  explicit Watchdog(vm::Vcpu& vcpu)
      : thread_([this, &vcpu] {
          std::unique_lock lock(mutex_);
          while (!over_.wait_for(lock, kTimeLimit, [this] { return done_; })) {
            expired_ = true;
            vcpu.kick();
          }
        }) {}
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    over_.notify_all();
    thread_.join();
  }
  [[nodiscard]] bool expired() {
    const std::lock_guard lock(mutex_);
    return expired_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool done_ = false;
  bool expired_ = false;
  std::thread thread_;
};

Result<void> judge(const vm::VcpuExit& exit, bool expired) {
  const auto cannot = [](std::string_view what) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("/dev/kvm opens, but cannot run an unmodified kernel: {}", what));
  };
  if (const auto* port = std::get_if<vm::ExitPort>(&exit)) {
    if (port->port == kResultPort && port->is_write && port->data[0] == std::byte{kResultValue}) {
      return {};
    }
    return cannot("a ring-0 test program computed a wrong result");
  }
  if (const auto* failed = std::get_if<vm::ExitFailed>(&exit)) {
    return cannot(failed->why);
  }
  if (std::holds_alternative<vm::ExitShutdown>(exit)) {
    return cannot("a ring-0 test program ended in a triple fault");
  }
  return cannot(expired ? "a ring-0 test program did not end within 5 s"
                        : "a ring-0 test program stopped in the wrong place");
}

}  // namespace

Result<void> probe_kvm() {
  SPORE_ASSIGN(auto hypervisor, create_kvm_hypervisor());
  SPORE_ASSIGN(base::Mapping ram,
               base::Mapping::create(kMemorySize, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, "mapping probe memory"));
  memory::GuestMemory memory({{0, ram.bytes()}});
  std::memcpy(ram.data() + kCodeAddress, kProgram.data(), kProgram.size());

  SPORE_ASSIGN(auto machine, hypervisor->create_vm(vm::WriteTracking::kOff));
  SPORE_TRY(machine->map_memory(0, 0, ram.bytes()));
  SPORE_TRY(machine->create_interrupt_controller());
  SPORE_ASSIGN(auto vcpu, machine->create_vcpu(0, 1));
  SPORE_ASSIGN(isa::CpuState state, vcpu->save());
  isa::enter_long_mode(memory, state);
  state.rip = kCodeAddress;
  state.gpr[isa::kRsp] = kStackTop;
  SPORE_TRY(vcpu->restore(state));

  Watchdog watchdog(*vcpu);
  vm::VcpuExit exit = vcpu->run();
  while (std::holds_alternative<vm::ExitInterrupted>(exit) && !watchdog.expired()) {
    exit = vcpu->run();
  }
  return judge(exit, watchdog.expired());
}

}  // namespace spore::kvm
