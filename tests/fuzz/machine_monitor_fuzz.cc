#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>

#include "cli/machines/connection.h"
#include "cli/machines/monitor_client.h"
#include "fuzz/targets.h"
#include "support/remote_pair.h"
#include "support/scripted_machine.h"

namespace spore::fuzz {
namespace {

using cli::machines::MonitorFrame;

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put <= 0) {
      return;
    }
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
}

std::string after_hello(std::string_view bytes) {
  std::string stream;
  wire::encode_frame(static_cast<std::uint16_t>(MonitorFrame::kHello), 0,
                     cli::machines::hello_payload(), stream);
  return stream.append(bytes);
}

}  // namespace

void machine_monitor(std::string_view bytes) {
  testing::ScriptedMachine machine;
  machine.on_exec = [](const ExecRequest&) {
    auto process = std::make_shared<testing::ScriptedProcess>();
    process->echo = true;
    process->exit_at_end_of_input = true;
    return process;
  };
  auto [ours, theirs] = testing::make_socket_pair();
  write_all(ours.get(), after_hello(bytes));
  shutdown(ours.get(), SHUT_WR);
  auto connection = cli::machines::Connection::create(
      machine, std::move(theirs), [](const cli::machines::CaptureMessage&) -> Result<SavedSpore> {
        return fail(ErrorCode::kUnavailable, "nothing is captured here");
      });
  char buffer[4096];
  while (!(*connection)->over() && read(ours.get(), buffer, sizeof(buffer)) > 0) {
  }
}

void machine_client(std::string_view bytes) {
  auto [ours, theirs] = testing::make_socket_pair();
  write_all(theirs.get(), after_hello(bytes));
  shutdown(theirs.get(), SHUT_WR);
  auto client = cli::machines::MonitorClient::greet(std::move(ours), "fuzzed");
  if (!client) {
    return;
  }
  const auto process = client->exec({.argv = {"x"}});
  if (!process) {
    return;
  }
  static_cast<void>((*process)->write_stdin("x"));
  while (const auto event = (*process)->next_event(std::nullopt)) {
    if (std::holds_alternative<Exited>(*event) || std::holds_alternative<Lost>(*event)) {
      return;
    }
  }
}

}  // namespace spore::fuzz
