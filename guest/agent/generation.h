// Generation: who this machine is, and the work that makes it so. MachineGeneration is the real
// one, on the generation page and the doorbell (wire/generation_page.h); an agent outside a machine
// of ours has none, and a test brings its own.
//
// The page was written by the VMM before the machine ran; its lengths are checked all the same.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "spore/result.h"
#include "wire/generation_page.h"

namespace spore::agent {

// What /run/spore/generation.json says.
struct Identity {
  std::uint64_t number = 0;
  std::string id;  // 32 hexadecimal digits
  std::string parent_id;
  std::string name = "0";
  std::string hostname;
  std::string mac;
  std::uint32_t child_index = 0;
  std::uint32_t child_count = 1;
  std::uint32_t shard_index = 0;
  std::uint32_t shard_count = 1;
  std::string user = "{}";  // a JSON object

  // One line, with its end of line.
  [[nodiscard]] std::string to_json() const;
};

Identity identity_of(const wire::GenerationPage& page);

class Generation {
 public:
  virtual ~Generation() = default;
  // Opens all that adopt() needs, so that a child spends its first system calls on its work. Called
  // once, in the final root, with /proc, /dev and /run mounted.
  virtual Result<void> prepare() = 0;
  // The generation that the page names now.
  virtual std::uint64_t number() = 0;
  // Makes this machine the one that the page describes and acknowledges it. Called with the
  // workload frozen (or not started); this is what a fork waits for.
  virtual Identity adopt() = 0;
  // Rings for a capture; returns in the machine that goes on, and in every child.
  virtual void capture() = 0;
  virtual void power_off() = 0;
};

struct GenerationAddresses {
  std::uint64_t page = 0;
  std::uint64_t doorbell = 0;
};

// Maps the page and the doorbell; needs /dev only, so that a failing boot can power off.
Result<std::unique_ptr<Generation>> open_machine_generation(const GenerationAddresses& addresses);

}  // namespace spore::agent
