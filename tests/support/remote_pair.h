// A RemoteHost and the serve() that it talks to, over a socket pair, in one process.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdlib>
#include <thread>
#include <utility>

#include "session/remote_host.h"
#include "session/serve.h"

namespace spore::testing {

inline std::pair<base::UniqueFd, base::UniqueFd> make_socket_pair() {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    std::abort();
  }
  return {base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
}

// serve() in a thread, until the other end of its socket closes.
class Server {
 public:
  Server(session::Host& host, base::UniqueFd socket)
      : socket_(std::move(socket)), thread_([this, &host] {
          status_ = session::serve(host, socket_.get(), socket_.get());
          socket_.reset();
        }) {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() {
    if (thread_.joinable()) {
      thread_.join();
    }
  }
  int wait() {
    thread_.join();
    return status_;
  }
  // Breaks the connection, as if the server had been killed.
  void cut() { shutdown(socket_.get(), SHUT_RDWR); }

 private:
  base::UniqueFd socket_;
  int status_ = -1;
  std::thread thread_;
};

}  // namespace spore::testing
