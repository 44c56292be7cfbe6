// Poller: epoll with a callback per descriptor. One thread. A descriptor without wanted events is
// taken out of the set, because epoll would report its hang-up for ever.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::agent {

class Poller {
 public:
  using Callback = std::function<void(std::uint32_t events)>;

  static Result<Poller> create();

  // Watches a borrowed descriptor until forget(); a second watch replaces the first.
  void watch(int fd, std::uint32_t events, Callback callback);
  void set_events(int fd, std::uint32_t events);
  void forget(int fd);
  // Waits at most `timeout_ms` (-1: for ever) and calls back for what happened.
  void wait(int timeout_ms);

 private:
  struct Entry {
    std::uint32_t events = 0;
    std::shared_ptr<Callback> callback;
  };

  explicit Poller(base::UniqueFd epoll) : epoll_(std::move(epoll)) {}

  base::UniqueFd epoll_;
  std::map<int, Entry> entries_;
};

}  // namespace spore::agent
