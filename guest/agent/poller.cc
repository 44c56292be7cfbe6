#include "agent/poller.h"

#include <sys/epoll.h>

#include <array>
#include <cerrno>

#include "base/check.h"

namespace spore::agent {

Result<Poller> Poller::create() {
  base::UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) {
    return fail(Error::from_errno(errno, "creating the agent's epoll set"));
  }
  return Poller(std::move(epoll));
}

void Poller::watch(int fd, std::uint32_t events, Callback callback) {
  entries_[fd].callback = std::make_shared<Callback>(std::move(callback));
  set_events(fd, events);
}

void Poller::set_events(int fd, std::uint32_t events) {
  const auto found = entries_.find(fd);
  if (found == entries_.end() || found->second.events == events) {
    return;
  }
  const std::uint32_t before = std::exchange(found->second.events, events);
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  const int operation = events == 0 ? EPOLL_CTL_DEL : before == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  SPORE_CHECK(::epoll_ctl(epoll_.get(), operation, fd, &event) == 0);
}

void Poller::forget(int fd) {
  set_events(fd, 0);
  entries_.erase(fd);
}

void Poller::wait(int timeout_ms) {
  std::array<epoll_event, 64> events;
  const int count =
      ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    const auto found = entries_.find(event.data.fd);
    if (found == entries_.end() || found->second.events == 0) {
      continue;  // an earlier callback of this round took it out
    }
    const auto callback = found->second.callback;  // may forget itself while it runs
    (*callback)(event.events);
  }
}

}  // namespace spore::agent
