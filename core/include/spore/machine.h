// What a machine is made of, and what can be said about one: plain values of the public API.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace spore {

inline constexpr std::uint64_t kMiB = 1024 * 1024;

struct MachineConfig {
  std::uint64_t memory_bytes = 512 * kMiB;  // a whole number of MiB
  std::uint32_t cpus = 1;                   // 1 to 8
  std::string kernel{};  // path of a bzImage or ELF vmlinux; empty: the newest in /boot
  std::vector<std::string> images{};  // read-only root images, stacked, the lowest first; at most 6
  std::string hostname = "spore";
};

inline constexpr std::size_t kMaxForkUserBytes = 3 * 1024;

// Who a forked machine is. Everything here can be read in the guest from
// /run/spore/generation.json once its generation work is done, which is before any user process
// runs.
struct ForkParameters {
  std::uint32_t child_index = 0;
  std::uint32_t child_count = 1;
  std::uint32_t shard_index = 0;
  std::uint32_t shard_count = 1;
  std::string name{};                         // empty: "<index>"
  std::string hostname{};                     // empty: "spore-<index>"
  std::map<std::string, std::string> user{};  // at most kMaxForkUserBytes in all
};

// Which generation a machine is: 0 for a fresh boot, else one more than its spore's.
struct Generation {
  std::uint64_t number = 0;
  std::string id;         // 32 hexadecimal digits, different in every child
  std::string parent_id;  // the id of the machine that was captured; empty for a fresh boot
  ForkParameters parameters;
};

enum class EndReason {
  kPoweredOff,    // the guest shut down in order
  kPanicked,      // the guest kernel panicked
  kReset,         // the guest reset itself or triple-faulted without a panic message
  kClosed,        // closed by its owner
  kEngineFailed,  // the hypervisor could not run it, or the connection to the engine broke
  kPutBack,       // its owner put it back to a spore: it is another generation now
};

[[nodiscard]] std::string_view to_string(EndReason reason) noexcept;

struct MachineEnd {
  EndReason reason = EndReason::kClosed;
  std::string detail;        // what more is known, such as the kernel's own words
  std::string console_tail;  // the last lines of the guest's console
};

struct MachineStats {
  std::uint64_t memory_bytes = 0;   // the guest's RAM
  std::uint64_t private_bytes = 0;  // RAM that belongs to this machine alone
  std::uint64_t shared_bytes = 0;   // RAM read from the spore it was forked from
  std::uint64_t exits = 0;          // VM exits so far, all vCPUs
};

// How long each phase took, in microseconds, measured where the machine runs.
struct BootTimings {
  std::uint64_t build_us = 0;        // kernel found and loaded, VM and devices made
  std::uint64_t agent_ready_us = 0;  // from the first instruction to the agent's hello
};
struct CaptureTimings {
  std::uint64_t freeze_us = 0;  // asking the guest until the doorbell
  std::uint64_t pause_us = 0;   // the doorbell until the state is saved: the machine stands still
};
struct ForkTimings {
  std::uint64_t build_us = 0;       // everything until its vCPUs may run: these four and more
  std::uint64_t shell_us = 0;       // VM, address window and vCPUs: made, or found ready
  std::uint64_t memory_us = 0;      // RAM made equal to the spore's
  std::uint64_t devices_us = 0;     // devices made, generation page written
  std::uint64_t cpus_us = 0;        // vCPU and clock state set
  std::uint64_t agent_us = 0;       // first instruction to the end of the generation work
  std::uint64_t user_us = 0;        // from there to the first user instruction, at most
  bool reset = false;               // in the shell of a machine of the same spore, put back
  std::uint64_t pages_checked = 0;  // pages that may have been written before, compared
  std::uint64_t pages_copied = 0;   // those of them that had been
};

// The phases of a fork, or of a reset, in their order.
struct ForkPhase {
  std::string_view name;
  std::uint64_t ForkTimings::*us;
};
inline constexpr std::array<ForkPhase, 6> kForkPhases{{{"shell", &ForkTimings::shell_us},
                                                       {"memory", &ForkTimings::memory_us},
                                                       {"devices", &ForkTimings::devices_us},
                                                       {"cpus", &ForkTimings::cpus_us},
                                                       {"agent", &ForkTimings::agent_us},
                                                       {"user", &ForkTimings::user_us}}};

}  // namespace spore
