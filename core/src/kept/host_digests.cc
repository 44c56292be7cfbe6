#include "kept/host_digests.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <array>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/files.h"
#include "image/cache.h"
#include "snapshot/proof.h"
#include "spore/kept.h"

namespace spore::kept {

Result<snapshot::KnownDigests> open_host_digests() {
  SPORE_ASSIGN(const image::Cache cache, image::Cache::open());
  SPORE_ASSIGN(const std::string path, cache.get("host-key", [](int fd) {
    std::array<char, snapshot::kProofKeyBytes> key{};
    SPORE_CHECK(::getrandom(key.data(), key.size(), 0) == static_cast<ssize_t>(key.size()));
    return base::write_all(fd, {key.data(), key.size()}, "the host's key");
  }));
  SPORE_ASSIGN(std::string key, base::read_file(path, snapshot::kProofKeyBytes));
  if (key.size() != snapshot::kProofKeyBytes) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("reading {}: it is no key; remove it, another one will be made", path));
  }
  return snapshot::KnownDigests(cache.path("digests"), std::move(key));
}

}  // namespace spore::kept

namespace spore {

Result<std::string> known_digest(const std::string& path) {
  SPORE_ASSIGN(const snapshot::KnownDigests known, kept::open_host_digests());
  return known.of_file(path);
}

}  // namespace spore
