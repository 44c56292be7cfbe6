// The platform contract's view of x86_64: the feature bits of CPUID, named as Linux names them in
// /proc/cpuinfo where they are well known, else by their place ("7.0.ebx.31": leaf, sub-leaf,
// register, bit). Leaves: Intel SDM volume 2 CPUID, AMD APM volume 3 appendix E.
#include "kvm/common/guest_platform.h"

#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "kvm/common/flexible.h"
#include "kvm/common/kvm_vcpu.h"

namespace spore::kvm {
namespace {

enum class Register { kEax, kEbx, kEcx, kEdx };
constexpr std::array<std::string_view, 4> kRegisterNames = {"eax", "ebx", "ecx", "edx"};

// The registers that hold feature bits, but for bits that follow what the guest does or how many
// vCPUs it has.
struct FeatureWord {
  std::uint32_t leaf;
  std::uint32_t subleaf;
  Register which;
  std::uint32_t ignored = 0;
};
constexpr std::array kFeatureWords = {
    FeatureWord{0x1, 0, Register::kEcx, 1u << 27},  // OSXSAVE: follows CR4
    FeatureWord{0x1, 0, Register::kEdx, 1u << 28},  // HTT: several vCPUs
    FeatureWord{0x7, 0, Register::kEbx},
    FeatureWord{0x7, 0, Register::kEcx, 1u << 4},  // OSPKE: follows CR4
    FeatureWord{0x7, 0, Register::kEdx},
    FeatureWord{0x7, 1, Register::kEax},
    FeatureWord{0x7, 1, Register::kEdx},
    FeatureWord{0xd, 0, Register::kEax},  // components of XCR0
    FeatureWord{0xd, 1, Register::kEax},
    FeatureWord{0x40000001, 0, Register::kEax},  // KVM's own
    FeatureWord{0x80000001, 0, Register::kEcx},
    FeatureWord{0x80000001, 0, Register::kEdx},
    FeatureWord{0x80000007, 0, Register::kEdx},
    FeatureWord{0x80000008, 0, Register::kEbx},
    FeatureWord{0x80000021, 0, Register::kEax},
};

const std::map<std::string_view, std::string_view>& well_known() {
  static const std::map<std::string_view, std::string_view> names = {
      {"1.0.ecx.0", "sse3"},
      {"1.0.ecx.1", "pclmulqdq"},
      {"1.0.ecx.9", "ssse3"},
      {"1.0.ecx.12", "fma"},
      {"1.0.ecx.13", "cx16"},
      {"1.0.ecx.17", "pcid"},
      {"1.0.ecx.19", "sse4_1"},
      {"1.0.ecx.20", "sse4_2"},
      {"1.0.ecx.21", "x2apic"},
      {"1.0.ecx.22", "movbe"},
      {"1.0.ecx.23", "popcnt"},
      {"1.0.ecx.24", "tsc_deadline_timer"},
      {"1.0.ecx.25", "aes"},
      {"1.0.ecx.26", "xsave"},
      {"1.0.ecx.28", "avx"},
      {"1.0.ecx.29", "f16c"},
      {"1.0.ecx.30", "rdrand"},
      {"7.0.ebx.0", "fsgsbase"},
      {"7.0.ebx.3", "bmi1"},
      {"7.0.ebx.4", "hle"},
      {"7.0.ebx.5", "avx2"},
      {"7.0.ebx.7", "smep"},
      {"7.0.ebx.8", "bmi2"},
      {"7.0.ebx.9", "erms"},
      {"7.0.ebx.10", "invpcid"},
      {"7.0.ebx.11", "rtm"},
      {"7.0.ebx.16", "avx512f"},
      {"7.0.ebx.17", "avx512dq"},
      {"7.0.ebx.18", "rdseed"},
      {"7.0.ebx.19", "adx"},
      {"7.0.ebx.20", "smap"},
      {"7.0.ebx.21", "avx512ifma"},
      {"7.0.ebx.23", "clflushopt"},
      {"7.0.ebx.24", "clwb"},
      {"7.0.ebx.28", "avx512cd"},
      {"7.0.ebx.29", "sha_ni"},
      {"7.0.ebx.30", "avx512bw"},
      {"7.0.ebx.31", "avx512vl"},
      {"7.0.ecx.1", "avx512vbmi"},
      {"7.0.ecx.2", "umip"},
      {"7.0.ecx.3", "pku"},
      {"7.0.ecx.6", "avx512_vbmi2"},
      {"7.0.ecx.8", "gfni"},
      {"7.0.ecx.9", "vaes"},
      {"7.0.ecx.10", "vpclmulqdq"},
      {"7.0.ecx.11", "avx512_vnni"},
      {"7.0.ecx.12", "avx512_bitalg"},
      {"7.0.ecx.14", "avx512_vpopcntdq"},
      {"7.0.ecx.16", "la57"},
      {"7.0.ecx.22", "rdpid"},
      {"7.0.edx.4", "fsrm"},
      {"7.0.edx.22", "amx_bf16"},
      {"7.0.edx.23", "avx512_fp16"},
      {"7.0.edx.24", "amx_tile"},
      {"7.0.edx.25", "amx_int8"},
      {"7.1.eax.4", "avx_vnni"},
      {"7.1.eax.5", "avx512_bf16"},
      {"80000001.0.ecx.5", "abm"},
      {"80000001.0.ecx.6", "sse4a"},
      {"80000001.0.edx.11", "syscall"},
      {"80000001.0.edx.20", "nx"},
      {"80000001.0.edx.26", "pdpe1gb"},
      {"80000001.0.edx.27", "rdtscp"},
      {"80000001.0.edx.29", "lm"},
      {"80000007.0.edx.8", "invariant_tsc"},
  };
  return names;
}

std::uint32_t value_of(const kvm_cpuid_entry2& entry, Register which) {
  return which == Register::kEax   ? entry.eax
         : which == Register::kEbx ? entry.ebx
         : which == Register::kEcx ? entry.ecx
                                   : entry.edx;
}

std::vector<std::string> features_of(std::span<const kvm_cpuid_entry2> leaves) {
  std::vector<std::string> features;
  for (const FeatureWord& word : kFeatureWords) {
    const auto leaf = std::find_if(leaves.begin(), leaves.end(), [&](const auto& entry) {
      return entry.function == word.leaf && entry.index == word.subleaf;
    });
    const std::uint32_t bits =
        leaf == leaves.end() ? 0 : value_of(*leaf, word.which) & ~word.ignored;
    for (unsigned bit = 0; bit < 32; ++bit) {
      if ((bits >> bit & 1) != 0) {
        const std::string place =
            fmt::format("{:x}.{:x}.{}.{}", word.leaf, word.subleaf,
                        kRegisterNames[static_cast<std::size_t>(word.which)], bit);
        const auto known = well_known().find(place);
        features.emplace_back(known == well_known().end() ? place : known->second);
      }
    }
  }
  std::sort(features.begin(), features.end());
  return features;
}

std::string vendor_of(std::span<const kvm_cpuid_entry2> leaves) {
  for (const kvm_cpuid_entry2& leaf : leaves) {
    if (leaf.function == 0) {
      std::string name(12, '\0');
      std::memcpy(name.data(), &leaf.ebx, 4);
      std::memcpy(name.data() + 4, &leaf.edx, 4);
      std::memcpy(name.data() + 8, &leaf.ecx, 4);
      return name;
    }
  }
  return {};
}

// Only a vCPU tells at which frequency its TSC runs when nobody has chosen one.
Result<std::uint32_t> natural_tsc_khz(const KvmSystem& system) {
  SPORE_ASSIGN(const int vm_fd, kvm_ioctl(system.fd(), KVM_CREATE_VM, "making a VM"));
  const base::UniqueFd vm(vm_fd);
  SPORE_ASSIGN(const int vcpu_fd, kvm_ioctl(vm.get(), KVM_CREATE_VCPU, "making a vCPU"));
  const base::UniqueFd vcpu(vcpu_fd);
  SPORE_ASSIGN(const int khz,
               kvm_ioctl(vcpu.get(), KVM_GET_TSC_KHZ, "asking a vCPU's TSC frequency"));
  return static_cast<std::uint32_t>(khz);
}

}  // namespace

Result<vm::GuestPlatform> guest_platform(const KvmSystem& system) {
  vm::GuestPlatform platform;
  platform.backend = "kvm";
  platform.clock = "kvm-clock";
  CpuidTable table = guest_cpuid(system, /*index=*/0, /*count=*/1);
  platform.cpu_vendor = vendor_of(table.entries());
  platform.cpu_features = features_of(table.entries());
  SPORE_ASSIGN(platform.tsc_khz, natural_tsc_khz(system));
  platform.scales_tsc = ::ioctl(system.fd(), KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0;
  return platform;
}

}  // namespace spore::kvm
