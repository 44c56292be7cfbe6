// A monitor and its clients over a real socket, with a machine that the tests play.
#pragma once

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "cli/machines/local_socket.h"
#include "cli/machines/monitor.h"
#include "cli/machines/monitor_client.h"
#include "support/scripted_machine.h"
#include "support/temporary_directory.h"

namespace spore::cli::machines::test {

using spore::testing::ScriptedMachine;
using spore::testing::ScriptedProcess;
using spore::testing::TemporaryDirectory;

inline constexpr Milliseconds kBound{20'000};

class MonitorTest : public ::testing::Test {
 protected:
  MonitorTest() {
    auto machine = std::make_unique<ScriptedMachine>();
    machine_ = machine.get();
    machine_->on_exec = [this](const ExecRequest&) { return process_; };
    auto listener = listen_at(directory_.path(), "socket");
    monitor_ = std::make_unique<Monitor>(std::move(machine), std::move(*listener));
    thread_ = std::thread([this] { outcome_ = monitor_->run(stop_.get()); });
  }
  ~MonitorTest() override { stop(); }

  void stop() {
    eventfd_write(stop_.get(), 1);
    wait();
  }
  void wait() {
    if (thread_.joinable()) {
      thread_.join();
    }
  }

  [[nodiscard]] base::UniqueFd socket() const {
    return std::move(*connect_to(directory_.path(), "socket"));
  }
  MonitorClient client() { return std::move(*MonitorClient::greet(socket(), "web")); }
  std::shared_ptr<ClientProcess> exec() { return *client().exec({.argv = {"cat"}}); }

  TemporaryDirectory directory_;
  std::shared_ptr<ScriptedProcess> process_ = std::make_shared<ScriptedProcess>();
  ScriptedMachine* machine_ = nullptr;
  std::unique_ptr<Monitor> monitor_;
  base::UniqueFd stop_{eventfd(0, EFD_CLOEXEC)};
  Result<Monitor::Outcome> outcome_ = Monitor::Outcome::kStopped;
  std::thread thread_;
};

inline std::string output_until_end(Process& process, Exited& exited) {
  std::string text;
  while (const auto event = process.next_event(kBound)) {
    if (const auto* output = std::get_if<Output>(&*event)) {
      text += output->data;
    } else if (const auto* end = std::get_if<Exited>(&*event)) {
      exited = *end;
      break;
    } else {
      break;
    }
  }
  return text;
}

}  // namespace spore::cli::machines::test
