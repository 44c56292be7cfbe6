#include "agent/fixture.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "agent/files.h"

namespace spore::agent {
namespace {

constexpr std::size_t kLineLimit = 64;
constexpr std::size_t kMaxClients = 1024;
constexpr int kBacklog = 128;

}  // namespace

FixtureServer::FixtureServer(Poller& poller, OwnerOf owner_of, OnWaiting on_waiting,
                             CurrentJson current)
    : poller_(poller),
      owner_of_(std::move(owner_of)),
      on_waiting_(std::move(on_waiting)),
      current_(std::move(current)) {}

FixtureServer::~FixtureServer() {
  for (const auto& [fd, client] : clients_) {
    poller_.forget(fd);
  }
  if (listener_.valid()) {
    poller_.forget(listener_.get());
    ::unlink(path_.c_str());
  }
}

Result<void> FixtureServer::listen(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return fail(ErrorCode::kInvalidArgument, "listening on " + path + ": the path is too long");
  }
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  base::UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ::unlink(path.c_str());
  if (!listener.valid() ||
      ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::chmod(path.c_str(), 0666) != 0 || ::listen(listener.get(), kBacklog) != 0) {
    return fail(path_error("listening on", path, errno));
  }
  listener_ = std::move(listener);
  path_ = path;
  poller_.watch(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_one(); });
  return {};
}

void FixtureServer::accept_one() {
  base::UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (!fd.valid() || clients_.size() >= kMaxClients ||
      ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return;
  }
  const int number = fd.get();
  clients_[number] = Client{std::move(fd), peer.pid, "", std::nullopt};
  poller_.watch(number, EPOLLIN, [this, number](std::uint32_t) { on_readable(number); });
}

void FixtureServer::on_readable(int fd) {
  auto& client = clients_.at(fd);
  std::array<char, kLineLimit> buffer;
  const auto got = ::read(fd, buffer.data(), buffer.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    return;
  }
  if (got <= 0 || client.line.size() + static_cast<std::size_t>(got) > kLineLimit) {
    drop(fd);
    return;
  }
  client.line.append(buffer.data(), static_cast<std::size_t>(got));
  if (client.line.back() == '\n') {
    handle_line(client);
  }
}

void FixtureServer::handle_line(Client& client) {
  const std::string line = std::exchange(client.line, "");
  if (client.waiting_for) {
    return;  // it waits already
  }
  if (line == "generation\n") {
    answer(client, current_());
    return;
  }
  const auto owner = line == "fixture-point\n" ? owner_of_(client.pid) : std::nullopt;
  if (!owner) {
    drop(client.fd.get());
    return;
  }
  client.waiting_for = *owner;
  on_waiting_(*owner);
}

// A line fits into any socket buffer; a client that does not read it loses only its own answer.
void FixtureServer::answer(Client& client, std::string_view json) {
  client.waiting_for.reset();
  [[maybe_unused]] const auto sent =
      ::send(client.fd.get(), json.data(), json.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void FixtureServer::release(std::uint64_t process_id, std::string_view json) {
  for (auto& [fd, client] : clients_) {
    if (client.waiting_for == process_id) {
      answer(client, json);
    }
  }
}

void FixtureServer::release_all(std::string_view json) {
  for (auto& [fd, client] : clients_) {
    if (client.waiting_for) {
      answer(client, json);
    }
  }
}

void FixtureServer::drop(int fd) {
  poller_.forget(fd);
  clients_.erase(fd);
}

}  // namespace spore::agent
