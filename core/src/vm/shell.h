// Shell: what a machine takes from the hypervisor and the host, whoever lives in it: a VM, a window
// of addresses for RAM, vCPUs and their threads. A machine that is forked needs all of it and
// changes none: when it ends, its shell can be put back to the same spore, or to another, at the
// cost of what was written.
//
// Threads: one at a time, but for what the accessors give.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "memory/ram.h"
#include "spore/result.h"
#include "vm/hypervisor.h"
#include "vm/vcpu_threads.h"

namespace spore::vm {

struct ShellShape {
  std::uint64_t memory_bytes = 0;
  std::uint32_t cpus = 1;
  bool operator==(const ShellShape&) const = default;
};

class Shell {
 public:
  // For a machine that boots: RAM is there.
  static Result<std::unique_ptr<Shell>> for_boot(Hypervisor& hypervisor, const ShellShape& shape);
  // For machines that are forked from spores of that shape; `image` is in its RAM.
  static Result<std::unique_ptr<Shell>> for_forks(Hypervisor& hypervisor, const ShellShape& shape,
                                                  std::shared_ptr<const memory::RamImage> image);
  ~Shell();

  [[nodiscard]] const ShellShape& shape() const noexcept { return shape_; }
  [[nodiscard]] memory::Ram& ram() noexcept { return *ram_; }
  [[nodiscard]] const memory::Ram& ram() const noexcept { return *ram_; }
  [[nodiscard]] HypervisorVm& machine() noexcept { return *machine_; }
  [[nodiscard]] std::span<const std::unique_ptr<Vcpu>> vcpus() const noexcept { return vcpus_; }
  [[nodiscard]] VcpuThreads& threads() noexcept { return *threads_; }

  // Whether another machine can have it: load() works.
  [[nodiscard]] bool reusable() const noexcept { return ram_->written() != nullptr; }
  // Makes RAM equal to `image`. After an Error the shell is of no use.
  Result<memory::Ram::Loaded> load(std::shared_ptr<const memory::RamImage> image);
  // Asks the hypervisor for what was written; before RAM is captured, or loaded.
  Result<void> collect_written();

 private:
  explicit Shell(const ShellShape& shape) : shape_(shape) {}
  // Order of creation is that of hypervisor.h: memory, interrupt controller, vCPUs.
  Result<void> assemble(Hypervisor& hypervisor, WriteTracking tracking);

  const ShellShape shape_;
  std::unique_ptr<memory::Ram> ram_;  // outlives machine_, which maps it
  std::unique_ptr<HypervisorVm> machine_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;
  std::unique_ptr<VcpuThreads> threads_;  // ends first: it uses the vCPUs
  std::vector<std::size_t> slot_first_page_;
  std::vector<SlotPage> collected_;  // kept for its capacity
};

}  // namespace spore::vm
