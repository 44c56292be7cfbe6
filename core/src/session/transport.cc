#include "session/transport.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstring>

namespace spore::session {
namespace {

constexpr std::size_t kMaxComplaints = 4096;

// write(2) that answers EPIPE without raising SIGPIPE in a program that does not expect it.
ssize_t write_without_signal(int fd, std::string_view bytes) {
  sigset_t pipe_signal;
  sigset_t before;
  sigset_t pending;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  sigpending(&pending);
  const bool was_pending = sigismember(&pending, SIGPIPE) == 1;
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  const ssize_t written = ::write(fd, bytes.data(), bytes.size());
  const int error = errno;
  if (written < 0 && error == EPIPE && !was_pending) {
    const timespec now{};
    sigtimedwait(&pipe_signal, nullptr, &now);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return written;
}

bool is_socket(int fd) {
  struct stat info {};
  return fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode);
}

}  // namespace

Result<std::unique_ptr<Transport>> FdTransport::create(base::UniqueFd in, base::UniqueFd out) {
  base::UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) {
    return fail(Error::from_errno(errno, "making an eventfd for a stream"));
  }
  const bool out_is_socket = is_socket(out.get());
  return std::unique_ptr<Transport>(
      new FdTransport(std::move(in), std::move(out), std::move(wake), out_is_socket));
}

Result<std::unique_ptr<Transport>> FdTransport::create(base::UniqueFd socket) {
  base::UniqueFd copy(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) {
    return fail(Error::from_errno(errno, "duplicating the descriptor of a stream"));
  }
  return create(std::move(socket), std::move(copy));
}

Result<bool> FdTransport::wait_for(int fd, short events) {
  std::array<pollfd, 2> polled = {{{fd, events, 0}, {wake_.get(), POLLIN, 0}}};
  while (poll(polled.data(), polled.size(), -1) < 0) {
    if (errno != EINTR) {
      return fail(Error::from_errno(errno, "waiting for a stream"));
    }
  }
  return polled[1].revents == 0;
}

Result<std::size_t> FdTransport::read(std::span<char> buffer) {
  for (;;) {
    SPORE_ASSIGN(const bool open, wait_for(in_.get(), POLLIN));
    if (!open) {
      return std::size_t{0};
    }
    const ssize_t got = ::read(in_.get(), buffer.data(), buffer.size());
    if (got >= 0) {
      return static_cast<std::size_t>(got);
    }
    if (errno == ECONNRESET) {
      return std::size_t{0};  // a peer that went without reading all it was sent
    }
    if (errno != EINTR && errno != EAGAIN) {
      return fail(Error::from_errno(errno, "reading from a stream"));
    }
  }
}

Result<std::size_t> FdTransport::write_some(std::string_view bytes) {
  // A pipe that poll() calls writable takes PIPE_BUF bytes without blocking; more might block where
  // close() cannot wake it.
  const ssize_t put =
      out_is_socket_ ? ::send(out_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT)
                     : write_without_signal(out_.get(), bytes.substr(0, PIPE_BUF));
  if (put >= 0) {
    return static_cast<std::size_t>(put);
  }
  if (errno == EINTR || errno == EAGAIN) {
    return std::size_t{0};
  }
  return fail(Error::from_errno(errno, "writing to a stream"));
}

Result<void> FdTransport::write(std::string_view bytes) {
  while (!bytes.empty()) {
    SPORE_ASSIGN(const bool open, wait_for(out_.get(), POLLOUT));
    if (!open) {
      return fail(ErrorCode::kInternal, "writing to a stream: it was closed");
    }
    SPORE_ASSIGN(const std::size_t put, write_some(bytes));
    bytes.remove_prefix(put);
  }
  return {};
}

void FdTransport::close() {
  const std::uint64_t one = 1;
  // It can only fail when the counter is full, and then it is readable already.
  static_cast<void>(::write(wake_.get(), &one, sizeof(one)) == sizeof(one));
}

Result<std::size_t> ProcessTransport::read(std::span<char> buffer) {
  while (consumed_ == output_.size()) {
    auto event = process_->next_event(std::nullopt);
    if (auto* output = event ? std::get_if<Output>(&*event) : nullptr) {
      if (output->stream == OutputStream::kStdout) {
        output_ = std::move(output->data);
        consumed_ = 0;
      } else if (complaints_.size() < kMaxComplaints) {
        complaints_.append(output->data, 0, kMaxComplaints - complaints_.size());
      }
    } else if (const auto* exited = event ? std::get_if<Exited>(&*event) : nullptr) {
      if (exited->status() == 0) {
        return std::size_t{0};
      }
      return fail(ErrorCode::kInternal,
                  fmt::format("the program at its other end ended with "
                              "status {}{}{}",
                              exited->status(), complaints_.empty() ? "" : ": ", complaints_));
    } else if (const auto* lost = event ? std::get_if<Lost>(&*event) : nullptr) {
      return fail(ErrorCode::kMachineEnded, lost->end.detail);
    }
  }
  const std::size_t size = std::min(buffer.size(), output_.size() - consumed_);
  std::memcpy(buffer.data(), output_.data() + consumed_, size);
  consumed_ += size;
  return size;
}

Result<void> ProcessTransport::write(std::string_view bytes) {
  return process_->write_stdin(bytes);
}

void ProcessTransport::close() {
  // Both fail only when the process is gone, which is what is wanted.
  static_cast<void>(process_->close_stdin());
  static_cast<void>(process_->signal(SIGTERM));
}

}  // namespace spore::session
