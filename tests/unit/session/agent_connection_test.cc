// The client against the real agent, run as an ordinary process on a socket pair.
#include "session/agent_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>

#include <string>
#include <thread>

#include "session/remote_host.h"
#include "support/fake_host.h"
#include "support/remote_pair.h"

extern char** environ;

namespace spore::session {
namespace {

class AgentConnection : public ::testing::Test {
 protected:
  AgentConnection() {
    auto [here, there] = testing::make_socket_pair();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, there.get(), 0);
    std::string program = AGENT_ON_STDIN;
    std::array<char*, 2> argv = {program.data(), nullptr};
    EXPECT_EQ(posix_spawn(&agent_, AGENT_ON_STDIN, &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    there.reset();
    auto connection =
        FdAgentConnection::create(std::move(*FdTransport::create(std::move(here))),
                                  FdAgentConnection::Greeting::kHello, Milliseconds{60'000});
    EXPECT_TRUE(connection.has_value()) << connection.error().message();
    connection_ = std::move(*connection);
  }
  ~AgentConnection() override {
    connection_.reset();
    int status = -1;
    EXPECT_EQ(waitpid(agent_, &status, 0), agent_);
    EXPECT_EQ(status, 0);
  }
  std::shared_ptr<Process> start(std::vector<std::string> argv, bool channel = false) {
    auto process = connection_->client().exec({.argv = std::move(argv), .channel = channel});
    EXPECT_TRUE(process.has_value()) << process.error().message();
    return *process;
  }

  pid_t agent_ = -1;
  std::unique_ptr<FdAgentConnection> connection_;
};

std::pair<std::string, int> follow(Process& process) {
  std::string output;
  while (const auto event = process.next_event(std::nullopt)) {
    if (const auto* piece = std::get_if<Output>(&*event)) {
      output += piece->data;
    } else if (const auto* exited = std::get_if<Exited>(&*event)) {
      return {output, exited->status()};
    } else if (std::holds_alternative<Lost>(*event)) {
      return {output, -1};
    }
  }
  return {output, -2};
}

TEST_F(AgentConnection, RunsPrograms) {
  EXPECT_EQ(follow(*start({"sh", "-c", "echo out; echo err >&2; exit 3"})).second, 3);
  EXPECT_EQ(follow(*start({"sh", "-c", "kill -9 $$"})).second, 137);
  const auto missing = connection_->client().exec({.argv = {"no-such-program"}});
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
}

TEST_F(AgentConnection, MegabytesGoThroughACat) {
  const auto cat = start({"cat"});
  const std::string text(4 * kMiB, 'c');
  std::thread writer([&] {
    EXPECT_TRUE(cat->write_stdin(text).has_value());
    EXPECT_TRUE(cat->close_stdin().has_value());
  });
  const auto [output, status] = follow(*cat);
  writer.join();
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(output == text);
}

TEST_F(AgentConnection, TheChannelIsDescriptorThree) {
  const auto process =
      start({"sh", "-c", "read line <&\"$SPORE_CHANNEL_FD\"; echo \"<$line>\" >&3"}, true);
  EXPECT_TRUE(process->write_channel("hello\n").has_value());
  const auto [output, status] = follow(*process);
  EXPECT_EQ(output, "<hello>\n");
  EXPECT_EQ(status, 0);
}

TEST_F(AgentConnection, ClosingItLosesItsProcesses) {
  const auto cat = start({"cat"});
  connection_.reset();
  EXPECT_EQ(follow(*cat).second, -1);
  EXPECT_EQ(cat->write_stdin("x").error().code(), ErrorCode::kMachineEnded);
}

TEST_F(AgentConnection, AProgramThatIsNoEngineIsToldByItsOwnWords) {
  const auto refusal = start({"sh", "-c", "echo 'spore: no such option' >&2; exit 125"});
  const auto host = connect_remote_host(std::make_unique<ProcessTransport>(refusal));
  ASSERT_FALSE(host.has_value());
  EXPECT_THAT(host.error().message(), ::testing::HasSubstr("status 125: spore: no such option"));

  const auto chatty = start({"sh", "-c", "echo 'Welcome to this machine, have a nice day'; cat"});
  const auto none = connect_remote_host(std::make_unique<ProcessTransport>(chatty));
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace spore::session
