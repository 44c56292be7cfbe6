// The manifest of a spore, and the platform contract in it (FORMAT.md beside this file).
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spore/disk.h"
#include "spore/machine.h"
#include "spore/result.h"

namespace spore {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SporePlatform, architecture, board, backend, cpu_vendor,
                                   cpu_features, clock, tsc_khz, memory_bytes, cpus, kernel_sha256)

}  // namespace spore

namespace spore::snapshot {

inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr std::size_t kMaxManifestBytes = 1024 * 1024;
inline constexpr std::size_t kMaxSectionBytes = 64 * 1024 * 1024;

inline constexpr std::string_view kVmSection = "vm";
inline constexpr std::string_view kAgentSection = "agent";
inline constexpr std::string_view kRamSection = "ram";

using Platform = SporePlatform;

// Every reason for which a machine with the contract `wanted` cannot go on where a new machine
// would have `offered`; empty: it can. The kernel is compared if `offered` names one. `can_scale`:
// the host can run a guest's TSC at another frequency than its own.
std::vector<std::string> differences(const Platform& wanted, const Platform& offered,
                                     bool can_scale);

struct ImageRef {
  std::string sha256;
  std::uint64_t bytes = 0;
  std::string name;  // path when it was captured
  bool operator==(const ImageRef&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ImageRef, sha256, bytes, name)

struct SectionRef {
  std::string sha256;
  std::uint64_t bytes = 0;
  bool operator==(const SectionRef&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SectionRef, sha256, bytes)

struct Manifest {
  std::uint64_t created = 0;
  std::string created_by;
  std::string parent;
  std::optional<ForkParameters> fork;
  Generation generation;
  Platform platform;
  std::vector<ImageRef> images;
  std::map<std::string, SectionRef> sections;
  std::map<std::string, std::string> annotations;
};
// Says that it is written now, by this program.
void stamp(Manifest& manifest);
void to_json(nlohmann::json& json, const Manifest& manifest);
void from_json(const nlohmann::json& json, Manifest& manifest);  // throws as nlohmann's do

// `what` names the manifest in Errors. Also checks what the types cannot say: digests that are
// digests, no more of anything than a machine has.
Result<Manifest> parse_manifest(std::string_view bytes, std::string_view what);

}  // namespace spore::snapshot
