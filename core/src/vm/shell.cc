#include "vm/shell.h"

#include <utility>

#include "isa/board.h"
#include "memory/page_map.h"

namespace spore::vm {

Result<std::unique_ptr<Shell>> Shell::for_boot(Hypervisor& hypervisor, const ShellShape& shape) {
  std::unique_ptr<Shell> shell(new Shell(shape));
  SPORE_ASSIGN(shell->ram_, memory::Ram::create(isa::ram_layout(shape.memory_bytes)));
  SPORE_TRY(shell->assemble(hypervisor, WriteTracking::kOff));
  return shell;
}

Result<std::unique_ptr<Shell>> Shell::for_forks(Hypervisor& hypervisor, const ShellShape& shape,
                                                std::shared_ptr<const memory::RamImage> image) {
  std::unique_ptr<Shell> shell(new Shell(shape));
  SPORE_ASSIGN(shell->ram_, memory::Ram::reserve(isa::ram_layout(shape.memory_bytes)));
  // Before there is a VM: what is mapped beneath a memory slot costs a look at each of its pages,
  // on hosts without nested paging.
  SPORE_TRY(shell->ram_->load(std::move(image)));
  SPORE_TRY(shell->assemble(hypervisor, WriteTracking::kOn));
  return shell;
}

Shell::~Shell() = default;

Result<void> Shell::assemble(Hypervisor& hypervisor, WriteTracking tracking) {
  SPORE_ASSIGN(machine_, hypervisor.create_vm(tracking));
  std::size_t first_page = 0;
  for (const memory::MemoryRegion& region : ram_->memory().regions()) {
    const auto slot = static_cast<std::uint32_t>(slot_first_page_.size());
    SPORE_TRY(machine_->map_memory(slot, region.base, region.bytes));
    slot_first_page_.push_back(first_page);
    first_page += region.bytes.size() / memory::kPageSize;
  }
  SPORE_TRY(machine_->create_interrupt_controller());
  for (std::uint32_t i = 0; i < shape_.cpus; ++i) {
    SPORE_ASSIGN(vcpus_.emplace_back(), machine_->create_vcpu(i, shape_.cpus));
  }
  threads_ = std::make_unique<VcpuThreads>(shape_.cpus);
  return {};
}

Result<memory::Ram::Loaded> Shell::load(std::shared_ptr<const memory::RamImage> image) {
  SPORE_TRY(collect_written());
  SPORE_ASSIGN(const auto loaded, ram_->load(std::move(image)));
  if (loaded.anew) {
    SPORE_TRY(machine_->watch_again());
  }
  return loaded;
}

Result<void> Shell::collect_written() {
  memory::WrittenPages* written = ram_->written();
  if (written == nullptr) {
    return {};
  }
  collected_.clear();
  SPORE_TRY(machine_->collect_written(collected_));
  for (const SlotPage& page : collected_) {
    written->add(slot_first_page_[page.slot] + page.page);
  }
  return {};
}

}  // namespace spore::vm
