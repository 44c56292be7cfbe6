// The CPUID that a guest sees: what KVM can offer on this host, less what a captured state could
// not carry (nested virtualization, performance counters, asynchronous page faults), with the
// topology of one socket of `count` single-threaded cores. Leaves: Intel SDM volume 2 CPUID, AMD
// APM volume 3 appendix E, KVM's Documentation/virt/kvm/x86/cpuid.rst.
#include <linux/kvm.h>
#include <linux/kvm_para.h>

#include <bit>
#include <cstddef>
#include <vector>

#include "kvm/common/flexible.h"
#include "kvm/common/kvm_vcpu.h"

namespace spore::kvm {
namespace {

constexpr std::uint32_t bit(unsigned n) {
  return 1u << n;
}

constexpr std::uint32_t kLeaf1EcxVmx = bit(5);
constexpr std::uint32_t kLeaf1EcxX2apic = bit(21);
constexpr std::uint32_t kLeaf1EcxTscDeadline = bit(24);
constexpr std::uint32_t kLeaf1EcxHypervisor = bit(31);
constexpr std::uint32_t kLeaf1EdxHyperThreading = bit(28);
constexpr std::uint32_t kExtended1EcxSvm = bit(2);
constexpr std::uint32_t kExtended1EcxCmpLegacy = bit(1);
constexpr std::uint32_t kExtended1EcxTopology = bit(22);

// The paravirtual features whose state lies wholly in MSRs and guest memory. (KVM looks at every
// exit whether the guest has taken note of the end of an interrupt, PV_EOI, and forgets it then.)
constexpr std::uint32_t kParavirtualFeatures =
    bit(KVM_FEATURE_CLOCKSOURCE) | bit(KVM_FEATURE_NOP_IO_DELAY) | bit(KVM_FEATURE_CLOCKSOURCE2) |
    bit(KVM_FEATURE_PV_EOI) | bit(KVM_FEATURE_PV_UNHALT) | bit(KVM_FEATURE_PV_TLB_FLUSH) |
    bit(KVM_FEATURE_PV_SEND_IPI) | bit(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT);

void adapt_leaf(kvm_cpuid_entry2& entry, const KvmSystem& system, std::uint32_t index,
                std::uint32_t count) {
  const auto id_bits = static_cast<std::uint32_t>(std::bit_width(count - 1));
  switch (entry.function) {
    case 0x1:
      entry.ebx = (entry.ebx & 0x0000ffff) | (count << 16) | (index << 24);
      entry.ecx &= ~kLeaf1EcxVmx;
      entry.ecx |= kLeaf1EcxHypervisor | kLeaf1EcxX2apic;
      if (system.has_tsc_deadline()) {
        entry.ecx |= kLeaf1EcxTscDeadline;
      }
      entry.edx =
          count > 1 ? entry.edx | kLeaf1EdxHyperThreading : entry.edx & ~kLeaf1EdxHyperThreading;
      break;
    case 0x4:  // deterministic caches: cores per package - 1, and who shares this cache
      entry.eax &= 0x3fff;
      if ((entry.eax & 0x1f) != 0) {
        entry.eax |= ((bit(id_bits) - 1) << 26);
        if (((entry.eax >> 5) & 7) >= 3) {
          entry.eax |= (count - 1) << 14;
        }
      }
      break;
    case 0xa:  // architectural performance monitoring: none
      entry.eax = entry.ebx = entry.ecx = entry.edx = 0;
      break;
    case 0xb:
    case 0x1f:  // extended topology: sub-leaf 0 threads, sub-leaf 1 cores
      entry.edx = index;
      entry.eax = entry.index == 0 ? 0 : id_bits;
      entry.ebx = entry.index == 0 ? 1 : entry.index == 1 ? count : 0;
      entry.ecx = entry.index == 0 ? 0x100 : entry.index == 1 ? 0x201 : entry.index;
      break;
    case KVM_CPUID_FEATURES:
      entry.eax &= kParavirtualFeatures;
      break;
    case 0x80000001:
      entry.ecx &= ~(kExtended1EcxSvm | kExtended1EcxCmpLegacy | kExtended1EcxTopology);
      break;
    case 0x80000008:
      entry.ecx = (count - 1) | (id_bits << 12);
      break;
    case 0x8000000a:  // SVM features: none, since SVM is hidden
      entry.eax = entry.ebx = entry.ecx = entry.edx = 0;
      break;
    default:
      break;
  }
}

}  // namespace

CpuidTable guest_cpuid(const KvmSystem& system, std::uint32_t index, std::uint32_t count) {
  const std::vector<kvm_cpuid_entry2>& supported = system.supported_cpuid();
  CpuidTable table(supported.size());
  for (std::size_t i = 0; i < supported.size(); ++i) {
    table.entries()[i] = supported[i];
    adapt_leaf(table.entries()[i], system, index, count);
  }
  return table;
}

Result<void> set_cpuid(const KvmSystem& system, int vcpu_fd, std::uint32_t index,
                       std::uint32_t count) {
  CpuidTable table = guest_cpuid(system, index, count);
  SPORE_TRY(kvm_ioctl(vcpu_fd, kSetCpuid2, table.data(), "setting the guest's CPUID"));
  return {};
}

}  // namespace spore::kvm
