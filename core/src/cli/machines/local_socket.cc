#include "cli/machines/local_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace spore::cli::machines {
namespace {

constexpr int kBacklog = 32;

// A socket's address holds 107 bytes of path, so the directory goes by its descriptor.
Result<base::UniqueFd> open_directory(const std::string& directory, const std::string& attempted) {
  base::UniqueFd fd(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, attempted));
  }
  return fd;
}

Result<sockaddr_un> address_in(int directory, const std::string& name,
                               const std::string& attempted) {
  const std::string path = fmt::format("/proc/self/fd/{}/{}", directory, name);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return fail(ErrorCode::kInvalidArgument, attempted + ": the socket's name is too long");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

}  // namespace

Result<base::UniqueFd> listen_at(const std::string& directory, const std::string& name) {
  const std::string attempted = fmt::format("listening at {}/{}", directory, name);
  SPORE_ASSIGN(const base::UniqueFd place, open_directory(directory, attempted));
  SPORE_ASSIGN(const sockaddr_un address, address_in(place.get(), name, attempted));
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid() ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    return fail(Error::from_errno(errno, attempted));
  }
  return fd;
}

Result<base::UniqueFd> connect_to(const std::string& directory, const std::string& name) {
  const std::string attempted = fmt::format("connecting to {}/{}", directory, name);
  SPORE_ASSIGN(const base::UniqueFd place, open_directory(directory, attempted));
  SPORE_ASSIGN(const sockaddr_un address, address_in(place.get(), name, attempted));
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, attempted));
  }
  while (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno == ECONNREFUSED) {
      return fail(ErrorCode::kNotFound, attempted + ": nobody listens there");
    }
    if (errno != EINTR) {
      return fail(Error::from_errno(errno, attempted));
    }
  }
  SPORE_TRY(check_same_user(fd.get()));
  return fd;
}

Result<void> check_same_user(int socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return fail(Error::from_errno(errno, "asking who is at the other end of a socket"));
  }
  if (peer.uid != ::geteuid()) {
    return fail(ErrorCode::kPermissionDenied,
                fmt::format("talking over a machine's socket: the other end is user {}, and only "
                            "{} may",
                            peer.uid, ::geteuid()));
  }
  return {};
}

}  // namespace spore::cli::machines
