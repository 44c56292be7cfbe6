#include "base/mapping.h"

#include <sys/mman.h>

#include <cerrno>
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
