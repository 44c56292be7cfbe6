#include "kvm/common/write_tracker.h"

#include <linux/kvm.h>

#include <bit>

#include "kvm/common/kvm_system.h"

namespace spore::kvm {
namespace {

constexpr std::uint64_t kPageSize = 4096;

}  // namespace

Result<std::unique_ptr<WriteTracker>> WriteTracker::create(int vm_fd) {
  kvm_enable_cap capability{};
  capability.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
  capability.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
  SPORE_TRY(kvm_ioctl(vm_fd, KVM_ENABLE_CAP, &capability, "enabling the dirty log"));
  return std::unique_ptr<WriteTracker>(new WriteTracker(vm_fd));
}

void WriteTracker::add_slot(std::uint32_t number, std::uint64_t size) {
  // A multiple of 64 pages, as KVM reads and writes whole words.
  slots_.push_back({number, std::vector<std::uint64_t>((size / kPageSize + 63) / 64),
                    static_cast<std::uint32_t>(size / kPageSize)});
}

// Bits stay set until watch_again(), so every answer has all of them.
Result<void> WriteTracker::collect(std::vector<vm::SlotPage>& pages) {
  for (Slot& slot : slots_) {
    kvm_dirty_log log{};
    log.slot = slot.number;
    log.dirty_bitmap = slot.bitmap.data();
    SPORE_TRY(kvm_ioctl(vm_fd_, KVM_GET_DIRTY_LOG, &log, "reading a VM's dirty log"));
    for (std::size_t word = 0; word < slot.bitmap.size(); ++word) {
      for (std::uint64_t bits = slot.bitmap[word]; bits != 0; bits &= bits - 1) {
        pages.push_back(
            {slot.number, word * 64 + static_cast<std::size_t>(std::countr_zero(bits))});
      }
    }
  }
  return {};
}

Result<void> WriteTracker::watch_again() {
  for (Slot& slot : slots_) {
    kvm_clear_dirty_log log{};
    log.slot = slot.number;
    log.num_pages = slot.pages;
    log.dirty_bitmap = slot.bitmap.data();  // as collect() left it
    SPORE_TRY(kvm_ioctl(vm_fd_, KVM_CLEAR_DIRTY_LOG, &log, "watching a VM's memory for writes"));
  }
  return {};
}

}  // namespace spore::kvm
