#include "nest/agent_stream.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <string_view>

#include "session/ended.h"

namespace spore::nest {
namespace {

constexpr std::chrono::seconds kHelloBound{30};

Result<void> send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR) {
      return fail(Error::from_errno(errno, "talking to the nest"));
    }
    bytes.remove_prefix(n > 0 ? static_cast<std::size_t>(n) : 0);
  }
  return {};
}

}  // namespace

AgentStream::AgentStream(Connection connection) : connection_(std::move(connection)) {
  const int fd = connection_.stream.get();
  client_ =
      session::AgentClient::for_boot([fd](std::string_view bytes) { return send_all(fd, bytes); });
  reader_ = std::thread([this] { read_all(); });
}

AgentStream::~AgentStream() {
  shutdown(connection_.stream.get(), SHUT_RDWR);
  reader_.join();
}

Result<std::unique_ptr<AgentStream>> AgentStream::open(Connection connection) {
  std::unique_ptr<AgentStream> stream(new AgentStream(std::move(connection)));
  const auto ready = stream->client_->wait_ready(session::Clock::now() + kHelloBound);
  if (!ready) {
    return fail(ready.error().with_context("connecting to the nest's agent"));
  }
  return stream;
}

void AgentStream::read_all() {
  std::array<char, 64 * 1024> buffer;
  for (;;) {
    const ssize_t n = read(connection_.stream.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      client_->end(session::engine_failed_end("the nest ended, or closed the connection"));
      return;
    }
    if (const auto fed = client_->feed({buffer.data(), static_cast<std::size_t>(n)}); !fed) {
      client_->end(session::engine_failed_end(fed.error().message()));
      return;
    }
  }
}

}  // namespace spore::nest
