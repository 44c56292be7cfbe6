#include "memory/memory_file.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/files.h"

namespace spore::memory {

Result<base::UniqueFd> create_memory_file(std::uint64_t size) {
  base::UniqueFd file(::memfd_create("spore-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.valid()) {
    return fail(Error::from_errno(errno, "creating a machine's RAM"));
  }
  if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) {
    return fail(Error::from_errno(errno, fmt::format("sizing a machine's RAM to {} bytes", size)));
  }
  return file;
}

std::uint64_t allocated_bytes(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? base::bytes_on_disk(status) : 0;
}

}  // namespace spore::memory
