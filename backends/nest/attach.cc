#include "nest/attach.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <thread>

#include "wire/nest_attach.h"

namespace spore::nest {
namespace {

using std::chrono::milliseconds;
using wire::AttachKind;
using wire::AttachRecord;

// QEMU makes its sockets within milliseconds; between two looks at them.
constexpr milliseconds kSocketInterval{5};

Error gone(const std::string& socket_path) {
  return Error(
      ErrorCode::kMachineEnded,
      fmt::format("talking to the nest through {}: QEMU is not there any more", socket_path));
}

// A stream socket to `path`; invalid when nobody listens there (yet).
Result<base::UniqueFd> connect_to(const std::string& path) {
  base::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, "making a Unix socket"));
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("connecting to {}: the path is too long for a Unix socket", path));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return fd;
  }
  if (errno == ENOENT || errno == ECONNREFUSED || errno == EINTR) {
    return base::UniqueFd();
  }
  return fail(Error::from_errno(errno, fmt::format("connecting to {}", path)));
}

Result<void> send_record(int fd, const AttachRecord& record, const std::string& socket_path) {
  if (send(fd, &record, sizeof(record), MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof(record))) {
    return fail(gone(socket_path));
  }
  return {};
}

int milliseconds_until(SteadyClock::time_point when) {
  const auto left = std::chrono::ceil<milliseconds>(when - SteadyClock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
}

bool has_ended(int pidfd) {
  pollfd entry{.fd = pidfd, .events = POLLIN, .revents = 0};
  return pidfd >= 0 && poll(&entry, 1, 0) > 0;
}

// Waits for the answer to `asked`; false when `until` has passed.
Result<bool> wait_for_echo(int fd, int pidfd, const AttachRecord& asked,
                           SteadyClock::time_point until, const std::string& socket_path) {
  wire::AttachScanner scanner;
  for (;;) {
    std::array<pollfd, 2> entries{{{.fd = fd, .events = POLLIN, .revents = 0},
                                   {.fd = pidfd, .events = POLLIN, .revents = 0}}};
    const int ready = poll(entries.data(), entries.size(), milliseconds_until(until));
    if (ready == 0) {
      return false;
    }
    if (ready < 0) {
      if (errno == EINTR) {
        continue;
      }
      return fail(Error::from_errno(errno, "waiting for the nest"));
    }
    if (entries[1].revents != 0) {
      return fail(gone(socket_path));
    }
    std::array<char, 4096> buffer;
    // Nothing follows the echo before the client has said kGo, so reading ahead loses nothing.
    const ssize_t n = read(fd, buffer.data(), buffer.size());
    if (n == 0 || (n < 0 && errno != EINTR)) {
      return fail(gone(socket_path));
    }
    for (ssize_t i = 0; i < n; ++i) {
      const auto record = scanner.feed(buffer[static_cast<std::size_t>(i)]);
      if (record && record->kind == AttachKind::kEcho && record->nonce == asked.nonce &&
          record->sequence == asked.sequence) {
        return true;
      }
    }
  }
}

}  // namespace

Result<Attachment> Attachment::attach(const std::string& socket_path,
                                      const AttachOptions& options) {
  std::array<std::uint8_t, 16> nonce;
  if (getrandom(nonce.data(), nonce.size(), 0) != static_cast<ssize_t>(nonce.size())) {
    return fail(Error::from_errno(errno, "getting random bytes"));
  }
  for (std::uint32_t sequence = 1; SteadyClock::now() < options.deadline;) {
    SPORE_ASSIGN(base::UniqueFd fd, connect_to(socket_path));
    if (!fd.valid()) {
      if (has_ended(options.qemu_pidfd) || options.reconnect_after) {
        return fail(gone(socket_path));
      }
      std::this_thread::sleep_for(kSocketInterval);
      continue;
    }
    const auto asked = wire::make_attach_record(AttachKind::kAttach, sequence++, nonce);
    SPORE_TRY(send_record(fd.get(), asked, socket_path));
    const auto until =
        options.reconnect_after
            ? std::min(options.deadline, SteadyClock::now() + *options.reconnect_after)
            : options.deadline;
    SPORE_ASSIGN(const bool echoed,
                 wait_for_echo(fd.get(), options.qemu_pidfd, asked, until, socket_path));
    if (echoed) {
      return Attachment(std::move(fd), asked);
    }
  }
  return fail(ErrorCode::kTimedOut,
              fmt::format("waiting for the nest behind {}: it did not answer", socket_path));
}

Result<base::UniqueFd> Attachment::go() {
  record_.kind = AttachKind::kGo;
  SPORE_TRY(send_record(fd_.get(), record_, "its port"));
  return std::move(fd_);
}

Result<void> Attachment::power_off() {
  record_.kind = AttachKind::kPowerOff;
  return send_record(fd_.get(), record_, "its port");
}

}  // namespace spore::nest
