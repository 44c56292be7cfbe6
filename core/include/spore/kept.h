// Machines that test runners keep from one run to the next: spores in the cache directory, each
// under the digest of all that made it. What a key misses would be a wrong result, so a runner puts
// into it all that it gives to the machine, and gives it nothing else.
//
// Together they take at most $SPORE_KEPT_LIMIT ("8G" if it is not set): what was used least
// recently goes first. Any thread, any process. Hostile bytes: all files.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spore/result.h"

namespace spore {

// What a machine was made from, by names for people; values that are long or secret as digests.
using KeptParts = std::map<std::string, std::string>;

// One of them, as it lies on disk.
struct KeptInfo {
  std::string digest;  // of its parts; names it
  std::string label;   // for people: whose it is. No part of the key
  KeptParts parts;
  std::string path;  // of its folder, absolute
  std::uint64_t bytes = 0;
  std::uint64_t kept = 0;  // seconds since 1970
  std::uint64_t used = 0;
};

// One that is in use: nobody removes it while this lives.
class KeptMachine {
 public:
  virtual ~KeptMachine() = default;
  [[nodiscard]] virtual const std::string& path() const noexcept = 0;   // of the spore
  [[nodiscard]] virtual const std::string& notes() const noexcept = 0;  // the runner's own
};

inline constexpr std::size_t kMaxKeptParts = 10'000;
inline constexpr std::uint64_t kMaxKeptNotes = 256ULL << 20U;  // bytes

// SHA-256; what a machine with these parts is called.
std::string kept_digest(const KeptParts& parts);

// The machine with exactly these parts, which counts as used now; nullptr: there is none.
// kCorrupt: it is not as it was written.
Result<std::shared_ptr<KeptMachine>> find_kept(const KeptParts& parts);

// Keeps what `save` writes to the path that it is given, a spore. It appears whole or not at all,
// and replaces one with the same parts; if that one is in use, it stays, and nothing is saved.
// kResourceExhausted: it is larger than the limit.
Result<KeptInfo> keep_machine(const std::string& label, const KeptParts& parts,
                              const std::string& notes,
                              const std::function<Result<void>(const std::string& path)>& save);

// All of them, the one that was used last first. One that is damaged has no parts, and a label that
// says why.
Result<std::vector<KeptInfo>> kept_machines();

// False: it is in use, or there is no such.
Result<bool> remove_kept(const std::string& digest);

// $SPORE_KEPT_LIMIT in bytes.
Result<std::uint64_t> kept_limit();

// ---- what keys are made of
// --------------------------------------------------------------------

// What an engine's machines are made from on this host: the guest's kernel and initramfs, and
// Spore's own programs.
Result<KeptParts> engine_parts(const std::string& engine);

// SHA-256 of a file that does not change, such as a root image: it is read once, and then known.
Result<std::string> known_digest(const std::string& path);

// ---- the same for programs
// --------------------------------------------------------------------

std::string json_text(const KeptInfo& kept);

}  // namespace spore
