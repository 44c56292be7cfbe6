// Written by hand for the nest, whose emulated CPU takes long for what the library's functions use
// on large blocks (`rep movs`), and for every load: 8 us for a changed page instead of 22. On real
// hardware it costs what a copy costs.
#include "memory/page_copy.h"

#include <cstdint>

#include "memory/page_map.h"

#if defined(__x86_64__)
#define SPORE_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define SPORE_WIDE
#endif

namespace spore::memory {
namespace {

using Wide = std::uint64_t __attribute__((vector_size(32), may_alias));
constexpr std::size_t kWides = kPageSize / sizeof(Wide);
constexpr std::size_t kStep = 4;

}  // namespace

SPORE_WIDE bool copy_difference(std::byte* page, const std::byte* wanted) noexcept {
  auto* ours = reinterpret_cast<Wide*>(page);
  const auto* theirs = reinterpret_cast<const Wide*>(wanted);
  for (std::size_t at = 0; at < kWides; at += kStep) {
    Wide difference = ours[at] ^ theirs[at];
    for (std::size_t i = 1; i < kStep; ++i) {
      difference |= ours[at + i] ^ theirs[at + i];
    }
    if ((difference[0] | difference[1] | difference[2] | difference[3]) != 0) {
      // What follows may be equal; to know costs more than to write it.
      for (; at < kWides; ++at) {
        ours[at] = theirs[at];
      }
      return true;
    }
  }
  return false;
}

}  // namespace spore::memory
