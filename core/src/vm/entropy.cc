#include "vm/entropy.h"

#include <sys/random.h>

#include <cerrno>

#include "base/check.h"

namespace spore::vm {

void fill_with_entropy(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::getrandom(bytes.data(), bytes.size(), 0);
    SPORE_CHECK(got > 0 || errno == EINTR);
    if (got > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(got));
    }
  }
}

}  // namespace spore::vm
