#include "memory/userfault.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "memory/page_map.h"

namespace spore::memory {
namespace {

constexpr int kFlags = O_CLOEXEC | O_NONBLOCK;

Result<base::UniqueFd> open_userfaultfd() {
  base::UniqueFd fd(static_cast<int>(::syscall(SYS_userfaultfd, kFlags)));
  if (fd.valid()) {
    return fd;
  }
  const int refused = errno;
  // Its permissions may give it to a user to whom the system call does not.
  const base::UniqueFd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (device.valid()) {
    fd.reset(::ioctl(device.get(), USERFAULTFD_IOC_NEW, kFlags));
  }
  if (!fd.valid()) {
    return fail(Error::from_errno(
        refused,
        "asking for a userfaultfd (CAP_SYS_PTRACE, access to /dev/userfaultfd or the sysctl "
        "vm.unprivileged_userfaultfd=1 gives it)"));
  }
  return fd;
}

uffdio_range range_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<std::uintptr_t>(bytes.data()), bytes.size()};
}

}  // namespace

Result<Userfault> Userfault::create() {
  SPORE_ASSIGN(base::UniqueFd fd, open_userfaultfd());
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_MISSING_SHMEM;
  if (::ioctl(fd.get(), UFFDIO_API, &api) != 0) {
    return fail(Error::from_errno(errno, "asking userfaultfd to watch files in memory"));
  }
  return Userfault(std::move(fd));
}

Result<void> Userfault::watch(std::span<const std::byte> range) const {
  // To make a huge page of a range, the kernel would fill its holes with zeros.
  ::madvise(const_cast<std::byte*>(range.data()), range.size(), MADV_NOHUGEPAGE);
  uffdio_register request{};
  request.range = range_of(range);
  request.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (::ioctl(fd_.get(), UFFDIO_REGISTER, &request) != 0) {
    return fail(Error::from_errno(errno, "watching a machine's RAM for pages that are touched"));
  }
  return {};
}

std::optional<const std::byte*> Userfault::next() const {
  uffd_msg message{};
  // Of the kinds of message only this one was asked for.
  if (::read(fd_.get(), &message, sizeof(message)) != sizeof(message) ||
      message.event != UFFD_EVENT_PAGEFAULT) {
    return std::nullopt;
  }
  const std::uint64_t address = message.arg.pagefault.address;
  return reinterpret_cast<const std::byte*>(address - address % kPageSize);
}

Result<void> Userfault::copy(const std::byte* to, std::span<const std::byte> from) const {
  while (!from.empty()) {
    uffdio_copy request{};
    request.dst = reinterpret_cast<std::uintptr_t>(to);
    request.src = reinterpret_cast<std::uintptr_t>(from.data());
    request.len = from.size();
    // EAGAIN: some of it.
    if (::ioctl(fd_.get(), UFFDIO_COPY, &request) != 0 && errno != EAGAIN) {
      return fail(Error::from_errno(errno, "giving a machine's RAM its pages"));
    }
    if (request.copy > 0) {
      from = from.subspan(static_cast<std::size_t>(request.copy));
      to += request.copy;
    }
  }
  return {};
}

bool Userfault::zero(std::span<const std::byte> pages) const {
  uffdio_zeropage request{};
  request.range = range_of(pages);
  return ::ioctl(fd_.get(), UFFDIO_ZEROPAGE, &request) == 0 || request.zeropage > 0;
}

void Userfault::wake(std::span<const std::byte> range) const {
  uffdio_range request = range_of(range);
  ::ioctl(fd_.get(), UFFDIO_WAKE, &request);
}

}  // namespace spore::memory
