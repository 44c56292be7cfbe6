#include "agent/streams.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace spore::agent {
namespace {

constexpr std::size_t kReadSize = 64 * 1024;
constexpr char kEndOfFile = 4;  // VEOF of a terminal as it is set up at first

}  // namespace

// ---- output
// ---------------------------------------------------------------------------------------

OutputStream::~OutputStream() {
  close();
}

void OutputStream::open(base::UniqueFd fd, std::function<void()> on_change, OutputStream* first) {
  if (!fd.valid()) {
    return;
  }
  fd_ = std::move(fd);
  first_ = first;
  poller_.watch(fd_.get(), EPOLLIN, [this, on_change = std::move(on_change)](std::uint32_t) {
    pump();
    on_change();
  });
}

void OutputStream::acknowledge(std::uint32_t bytes) {
  credit_ += std::min(bytes, wire::kStreamWindow - credit_);
}

void OutputStream::pump() {
  std::array<char, kReadSize> buffer;
  while (fd_.valid() && credit_ > 0 && !control_.full()) {
    const std::size_t wanted = std::min<std::size_t>(credit_, buffer.size());
    const auto got = ::read(fd_.get(), buffer.data(), wanted);
    if (got > 0) {
      credit_ -= static_cast<std::uint32_t>(got);
      if (first_ != nullptr) {
        first_->pump();
      }
      control_.send(type_, subject_, {buffer.data(), static_cast<std::size_t>(got)});
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      close();  // a pty says EIO when its last slave is closed
    } else if (errno == EAGAIN) {
      if (close_when_empty_) {
        poller_.forget(fd_.get());
        drained_ = std::move(fd_);
      }
      return;
    }
  }
}

void OutputStream::close_when_empty() {
  close_when_empty_ = true;
  pump();
}

void OutputStream::update(bool paused) {
  if (fd_.valid()) {
    const bool wanted = !paused && credit_ > 0 && !control_.full();
    poller_.set_events(fd_.get(), wanted ? static_cast<std::uint32_t>(EPOLLIN) : 0U);
  }
}

base::UniqueFd OutputStream::release() {
  return std::move(drained_);
}

void OutputStream::close() {
  if (fd_.valid()) {
    poller_.forget(fd_.get());
    fd_.reset();
  }
}

// ---- input
// ----------------------------------------------------------------------------------------

InputStream::~InputStream() {
  close();
}

void InputStream::open(base::UniqueFd fd, Ending ending) {
  if (!fd.valid()) {
    return;
  }
  fd_ = std::move(fd);
  ending_ = ending;
  poller_.watch(fd_.get(), 0, [this](std::uint32_t) { push(); });
}

bool InputStream::write(std::string_view bytes) {
  if (ended_ || bytes.empty()) {
    return true;
  }
  if (bytes.size() > wire::kStreamWindow - waiting_.size()) {
    return false;
  }
  waiting_.append(bytes);
  push();
  return true;
}

void InputStream::end() {
  ended_ = true;
  if (waiting_.empty()) {
    finish();
  }
}

void InputStream::close() {
  if (fd_.valid()) {
    poller_.forget(fd_.get());
    fd_.reset();
  }
}

void InputStream::push() {
  std::size_t taken = 0;
  while (fd_.valid() && taken < waiting_.size()) {
    const auto written = ::write(fd_.get(), waiting_.data() + taken, waiting_.size() - taken);
    if (written >= 0) {
      taken += static_cast<std::size_t>(written);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      close();
    }
  }
  if (!fd_.valid()) {
    taken = waiting_.size();  // nobody reads it: taken and dropped, so that the writer goes on
  }
  if (taken > 0) {
    waiting_.erase(0, taken);
    control_.send_message(wire::AgentFrame::kInputWindow, subject_,
                          wire::WindowMessage{number_, static_cast<std::uint32_t>(taken)});
  }
  if (fd_.valid()) {
    poller_.set_events(fd_.get(), waiting_.empty() ? 0U : static_cast<std::uint32_t>(EPOLLOUT));
  }
  if (ended_ && waiting_.empty()) {
    finish();
  }
}

void InputStream::finish() {
  if (!fd_.valid()) {
    return;
  }
  if (ending_ == Ending::kShutdown) {
    ::shutdown(fd_.get(), SHUT_WR);
  } else if (ending_ == Ending::kEndOfFileCharacter) {
    [[maybe_unused]] const auto written = ::write(fd_.get(), &kEndOfFile, 1);
  }
  close();
}

}  // namespace spore::agent
