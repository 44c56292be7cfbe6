#include "support/fake_fixture.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

namespace spore::testing {
namespace {

constexpr std::size_t kMaxMessage = 64 * 1024;
constexpr std::size_t kDescriptors = 4;
constexpr const char* kVariable = "SPORE_FAKE_FIXTURE_FD";

struct Command {
  std::string text;
  std::array<int, kDescriptors> descriptors{-1, -1, -1, -1};
};

Command receive(int socket) {
  Command command;
  command.text.resize(kMaxMessage);
  iovec part{command.text.data(), command.text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kDescriptors)];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t length = recvmsg(socket, &message, 0);
  command.text.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
  if (const cmsghdr* header = CMSG_FIRSTHDR(&message)) {
    std::memcpy(command.descriptors.data(), CMSG_DATA(header), sizeof command.descriptors);
  }
  return command;
}

FakeFork parse(const std::string& text) {
  const auto value = nlohmann::json::parse(text);
  return {.forked = true,
          .shard_index = value.at("shard_index"),
          .shard_count = value.at("shard_count"),
          .user = value.at("user")};
}

// Waits for the child in a process of its own, since the captured process goes on waiting here.
void supervise(pid_t child, int status_pipe) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
  }
  if (write(status_pipe, &status, sizeof status) < 0) {
    _exit(1);
  }
  _exit(0);
}

}  // namespace

FakeFork fake_fixture_point() {
  const char* name = std::getenv(kVariable);
  if (name == nullptr) {
    return {};
  }
  const int socket = std::atoi(name);
  if (send(socket, "F", 1, MSG_NOSIGNAL) != 1) {
    _exit(1);
  }
  for (;;) {
    const Command command = receive(socket);
    if (command.text.empty()) {
      _exit(1);  // the session is gone
    }
    if (command.text == "R") {
      return {};
    }
    if (fork() == 0) {
      const auto [out, errors, status, next] = command.descriptors;
      if (setsid() < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(errors, STDERR_FILENO) < 0) {
        _exit(1);
      }
      close(socket);
      close(out);
      close(errors);
      const pid_t self = getpid();
      if (write(status, &self, sizeof self) != sizeof self) {
        _exit(1);
      }
      const pid_t child = fork();
      if (child == 0) {
        close(status);
        setenv(kVariable, std::to_string(next).c_str(), 1);
        return parse(command.text.substr(1));
      }
      close(next);
      close(STDOUT_FILENO);
      close(STDERR_FILENO);
      supervise(child, status);
    }
    for (const int descriptor : command.descriptors) {
      close(descriptor);
    }
  }
}

}  // namespace spore::testing
