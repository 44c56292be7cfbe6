#include "agent/control.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>

#include "agent/log.h"

namespace spore::agent {
namespace {

constexpr std::size_t kReadSize = 64 * 1024;

}  // namespace

ControlStream::ControlStream(int fd, Poller& poller)
    : fd_(fd), poller_(poller), read_buffer_(kReadSize, '\0') {
  const int flags = ::fcntl(fd_, F_GETFL);
  ::fcntl(fd_, F_SETFL, flags | O_NONBLOCK);
}

ControlStream::~ControlStream() {
  poller_.forget(fd_);
}

void ControlStream::start(FrameHandler on_frame, DrainHandler on_drain) {
  on_frame_ = std::move(on_frame);
  on_drain_ = std::move(on_drain);
  poller_.watch(fd_, EPOLLIN, [this](std::uint32_t events) { on_ready(events); });
  update_events();
}

void ControlStream::send(wire::AgentFrame type, std::uint64_t subject, std::string_view payload) {
  if (closed_) {
    return;
  }
  wire::encode_frame(static_cast<std::uint16_t>(type), subject, payload, queue_);
}

void ControlStream::flush() {
  while (!closed_ && queued() > 0) {
    const auto written = ::write(fd_, queue_.data() + sent_, queued());
    if (written >= 0) {
      sent_ += static_cast<std::size_t>(written);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      close("the host closed the control stream");
    }
  }
  if (queued() == 0) {
    queue_.clear();
    sent_ = 0;
  } else if (sent_ > kQueueLimit) {
    queue_.erase(0, sent_);
    sent_ = 0;
  }
  update_events();
}

void ControlStream::flush_fully() {
  flush();
  while (!closed_ && queued() > 0) {
    pollfd writable{fd_, POLLOUT, 0};
    ::poll(&writable, 1, -1);
    flush();
  }
}

void ControlStream::close(std::string_view why) {
  if (!closed_) {
    closed_ = true;
    log_info(why);
  }
}

void ControlStream::on_ready(std::uint32_t events) {
  const bool was_full = full();
  if ((events & EPOLLOUT) != 0) {
    flush();
  }
  if (was_full && !full()) {
    on_drain_();
  }
  if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0 && !closed_) {
    read_frames();
  }
  update_events();
}

void ControlStream::read_frames() {
  const auto got = ::read(fd_, read_buffer_.data(), read_buffer_.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    return;
  }
  if (got <= 0) {
    close("the control stream ended");
    return;
  }
  decoder_.feed(std::string_view(read_buffer_).substr(0, static_cast<std::size_t>(got)));
  while (!closed_) {
    auto frame = decoder_.next();
    if (!frame) {
      close(frame.error().message());
      return;
    }
    if (!frame->has_value()) {
      return;
    }
    on_frame_(std::move(**frame));
  }
}

void ControlStream::update_events() {
  if (closed_) {
    poller_.set_events(fd_, 0);
    return;
  }
  const std::uint32_t in = full() ? 0U : static_cast<std::uint32_t>(EPOLLIN);
  const std::uint32_t out = queued() > 0 ? static_cast<std::uint32_t>(EPOLLOUT) : 0U;
  poller_.set_events(fd_, in | out);
}

}  // namespace spore::agent
