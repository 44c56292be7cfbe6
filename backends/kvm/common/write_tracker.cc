#include "kvm/common/write_tracker.h"

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>

namespace spore::kvm {
namespace {

constexpr std::uint64_t kPageSize = 4096;
// Entries of a vCPU's ring: 64 KiB of the kernel's memory, to be made with every shell. A full one
// costs an exit for each 16 MiB written.
constexpr std::uint32_t kMaxRingEntries = 4096;

class DirtyRing final : public WriteTracker {
 public:
  DirtyRing(int vm_fd, std::uint32_t entries) : vm_fd_(vm_fd), entries_(entries) {}

  Result<void> add_slot(std::uint32_t, std::uint64_t) override { return {}; }

  Result<void> add_vcpu(int vcpu_fd) override {
    Ring ring;
    SPORE_ASSIGN(ring.mapping,
                 base::Mapping::create(entries_ * sizeof(kvm_dirty_gfn), PROT_READ | PROT_WRITE,
                                       MAP_SHARED, vcpu_fd, KVM_DIRTY_LOG_PAGE_OFFSET * kPageSize,
                                       "mapping a vCPU's dirty ring"));
    rings_.push_back(std::move(ring));
    return {};
  }

  Result<void> collect(std::vector<vm::SlotPage>& pages) override {
    for (Ring& ring : rings_) {
      for (;;) {
        kvm_dirty_gfn& entry = at(ring, ring.fetched);
        // Published by the kernel with a release store of the flags.
        const auto flags = std::atomic_ref(entry.flags).load(std::memory_order_acquire);
        if ((flags & KVM_DIRTY_GFN_F_DIRTY) == 0 || ring.fetched - ring.returned == entries_) {
          break;
        }
        pages.push_back({entry.slot & 0xffff, entry.offset});
        ++ring.fetched;
      }
    }
    return {};
  }

  Result<void> watch_again() override {
    bool any = false;
    for (Ring& ring : rings_) {
      any = any || ring.returned != ring.fetched;
      for (; ring.returned != ring.fetched; ++ring.returned) {
        std::atomic_ref(at(ring, ring.returned).flags)
            .store(KVM_DIRTY_GFN_F_RESET, std::memory_order_release);
      }
    }
    if (any) {
      SPORE_TRY(kvm_ioctl(vm_fd_, KVM_RESET_DIRTY_RINGS, "watching a VM's memory for writes"));
    }
    return {};
  }

 private:
  struct Ring {
    base::Mapping mapping;
    std::uint64_t fetched = 0;   // entries read so far
    std::uint64_t returned = 0;  // entries given back to the kernel
  };
  kvm_dirty_gfn& at(const Ring& ring, std::uint64_t index) const {
    return reinterpret_cast<kvm_dirty_gfn*>(ring.mapping.data())[index % entries_];
  }

  const int vm_fd_;
  const std::uint32_t entries_;
  std::vector<Ring> rings_;
};

class DirtyLog final : public WriteTracker {
 public:
  explicit DirtyLog(int vm_fd) : vm_fd_(vm_fd) {}

  Result<void> add_slot(std::uint32_t slot, std::uint64_t size) override {
    // A multiple of 64 pages, as KVM reads and writes whole words.
    slots_.push_back({slot, std::vector<std::uint64_t>((size / kPageSize + 63) / 64),
                      static_cast<std::uint32_t>(size / kPageSize)});
    return {};
  }

  Result<void> add_vcpu(int) override { return {}; }

  // Bits stay set until watch_again(), so every answer has all of them.
  Result<void> collect(std::vector<vm::SlotPage>& pages) override {
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

  Result<void> watch_again() override {
    for (Slot& slot : slots_) {
      kvm_clear_dirty_log log{};
      log.slot = slot.number;
      log.num_pages = slot.pages;
      log.dirty_bitmap = slot.bitmap.data();  // as collect() left it
      SPORE_TRY(kvm_ioctl(vm_fd_, KVM_CLEAR_DIRTY_LOG, &log, "watching a VM's memory for writes"));
    }
    return {};
  }

 private:
  struct Slot {
    std::uint32_t number = 0;
    std::vector<std::uint64_t> bitmap;
    std::uint32_t pages = 0;
  };
  const int vm_fd_;
  std::vector<Slot> slots_;
};

}  // namespace

Result<std::unique_ptr<WriteTracker>> WriteTracker::create(const KvmSystem& system, int vm_fd) {
  kvm_enable_cap capability{};
  if (system.dirty_ring_size() > 0) {
    const auto entries = std::min<std::uint32_t>(
        kMaxRingEntries,
        static_cast<std::uint32_t>(system.dirty_ring_size() / sizeof(kvm_dirty_gfn)));
    capability.cap = KVM_CAP_DIRTY_LOG_RING;
    capability.args[0] = entries * sizeof(kvm_dirty_gfn);
    SPORE_TRY(kvm_ioctl(vm_fd, KVM_ENABLE_CAP, &capability, "enabling the dirty ring"));
    return std::make_unique<DirtyRing>(vm_fd, entries);
  }
  capability.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
  capability.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
  SPORE_TRY(kvm_ioctl(vm_fd, KVM_ENABLE_CAP, &capability, "enabling the dirty log"));
  return std::make_unique<DirtyLog>(vm_fd);
}

}  // namespace spore::kvm
