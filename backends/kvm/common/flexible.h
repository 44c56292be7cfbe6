// KVM's structures that end in an array of entries. The kernel's header declares those arrays
// through an empty structure, which has size 0 in C and 1 in C++: in C++ the offsets, the sizes,
// and with them the request numbers come out wrong. So they are stated here
// (Documentation/virt/kvm/api.rst).
#pragma once

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace spore::kvm {

struct CountedHeader {  // of kvm_cpuid2 and kvm_msrs
  std::uint32_t count = 0;
  std::uint32_t padding = 0;
};
struct MsrListHeader {
  std::uint32_t count = 0;
};

using XsaveArea = std::byte[4096];  // kvm_xsave without what follows it

inline constexpr unsigned long kGetMsrIndexList = _IOWR(KVMIO, 0x02, MsrListHeader);
inline constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, CountedHeader);
inline constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, CountedHeader);
inline constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, CountedHeader);
inline constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, CountedHeader);
inline constexpr unsigned long kGetXsave = _IOR(KVMIO, 0xa4, XsaveArea);
inline constexpr unsigned long kSetXsave = _IOW(KVMIO, 0xa5, XsaveArea);
inline constexpr unsigned long kGetXsave2 = _IOR(KVMIO, 0xcf, XsaveArea);

// A header and its entries in one piece, as the kernel wants them.
template <typename Header, typename Entry>
class Flexible {
 public:
  explicit Flexible(std::size_t count) : bytes_(sizeof(Header) + count * sizeof(Entry)) {
    header().count = static_cast<std::uint32_t>(count);
  }
  [[nodiscard]] void* data() noexcept { return bytes_.data(); }
  [[nodiscard]] Header& header() noexcept { return *reinterpret_cast<Header*>(bytes_.data()); }
  // As many as the header says, which the kernel may have lowered.
  [[nodiscard]] std::span<Entry> entries() noexcept {
    return {reinterpret_cast<Entry*>(bytes_.data() + sizeof(Header)), header().count};
  }

 private:
  std::vector<std::byte> bytes_;
};

using CpuidTable = Flexible<CountedHeader, kvm_cpuid_entry2>;
using MsrTable = Flexible<CountedHeader, kvm_msr_entry>;
using MsrList = Flexible<MsrListHeader, std::uint32_t>;

}  // namespace spore::kvm
