// Userfault: a descriptor that tells when a page of a watched mapping is touched that its file does
// not have yet, and lets the thread that touched it wait (userfaultfd(2)). For mappings of files in
// memory.
//
// Threads: any.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::memory {

class Userfault {
 public:
  // An Error where the kernel does not have it, or refuses it to this user: KVM's own accesses are
  // the kernel's, so what any user may have (UFFD_USER_MODE_ONLY) is not enough.
  static Result<Userfault> create();

  // Until the range is unmapped, or something else is mapped there.
  Result<void> watch(std::span<const std::byte> range) const;
  // A page that was touched and is not there: its first byte. The thread waits for zero() or
  // wake(). Nothing when nobody waits; never blocks (descriptor() can be polled).
  [[nodiscard]] std::optional<const std::byte*> next() const;
  [[nodiscard]] int descriptor() const noexcept { return fd_.get(); }

  // Gives pages of a watched mapping their bytes, each at once: whoever sees a page sees all of it.
  // In a shared mapping they are the file's, in a private one its own. None may be there yet.
  Result<void> copy(const std::byte* to, std::span<const std::byte> from) const;
  // Lets pages of a watched private mapping be zeros, which takes no memory, and whoever waits for
  // them go on. Stops at a page that is there; false: the first is, or is watched no more.
  [[nodiscard]] bool zero(std::span<const std::byte> pages) const;
  // Lets the threads that wait for a page of the range touch it again, whatever is mapped there.
  void wake(std::span<const std::byte> range) const;

 private:
  explicit Userfault(base::UniqueFd fd) : fd_(std::move(fd)) {}

  base::UniqueFd fd_;
};

}  // namespace spore::memory
