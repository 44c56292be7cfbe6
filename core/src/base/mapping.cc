#include "base/mapping.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <utility>

namespace spore::base {

Result<Mapping> Mapping::create(std::size_t size, int protection, int flags, int fd, off_t offset,
                                std::string_view attempted) {
  void* data = ::mmap(nullptr, size, protection, flags, fd, offset);
  if (data == MAP_FAILED) {
    return fail(Error::from_errno(errno, attempted));
  }
  return Mapping(static_cast<std::byte*>(data), size);
}

Result<Mapping> Mapping::create_aligned(std::size_t size, std::size_t alignment, int protection,
                                        int flags, int fd, std::string_view attempted) {
  // A reservation that holds an aligned range wherever it lies; what surrounds the range goes back.
  void* reserved = ::mmap(nullptr, size + alignment, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) {
    return fail(Error::from_errno(errno, attempted));
  }
  auto* start = static_cast<std::byte*>(reserved);
  const std::size_t before =
      (alignment - reinterpret_cast<std::uintptr_t>(start) % alignment) % alignment;
  if (before > 0) {
    ::munmap(start, before);
  }
  ::munmap(start + before + size, alignment - before);
  Mapping mapping(start + before, size);
  if (::mmap(mapping.data(), size, protection, flags | MAP_FIXED, fd, 0) == MAP_FAILED) {
    return fail(Error::from_errno(errno, attempted));
  }
  return mapping;
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    unmap();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

Mapping::~Mapping() {
  unmap();
}

void Mapping::unmap() noexcept {
  if (data_ != nullptr) {
    ::munmap(data_, size_);
    data_ = nullptr;
  }
}

}  // namespace spore::base
