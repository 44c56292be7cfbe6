// An agent in a process of its own, on a socket pair, and a small client that speaks the agent
// protocol to it. The test process is a subreaper, so that whatever the agent leaves behind is
// found.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "wire/agent_protocol.h"
#include "wire/frame.h"

namespace spore::test {

struct Finished {
  std::string out;
  std::string err;
  std::string channel;
  std::optional<wire::ExitedMessage> exited;
  std::optional<wire::StartFailedMessage> start_failed;
};

class AgentHarness : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  void send(wire::AgentFrame type, std::uint64_t id, std::string_view payload = {});
  template <typename Message>
  void send_message(wire::AgentFrame type, std::uint64_t id, const Message& message) {
    send(type, id, wire::to_cbor(message));
  }
  void send_raw(std::string_view bytes);
  // The next frame; nullopt (after a failure of the test) when none comes within a bound.
  std::optional<wire::Frame> receive();
  // The next frame of this type; others are dropped.
  std::optional<wire::Frame> receive(wire::AgentFrame type);
  template <typename Message>
  Message receive_message(wire::AgentFrame type) {
    const auto frame = receive(type);
    const auto message = wire::from_cbor<Message>(frame ? frame->payload : "");
    EXPECT_TRUE(message) << "no message of type " << static_cast<int>(type);
    return message ? *message : Message{};
  }

  static wire::ExecMessage shell(const std::string& script);
  void exec(std::uint64_t id, const wire::ExecMessage& message);
  // Collects what the processes say, gives credit back, and returns at the end of `id`.
  Finished finish(std::uint64_t id);
  Finished run(const wire::ExecMessage& message);
  // Collects what one frame says, and gives credit back.
  void note(const wire::Frame& frame);

  // Ends the stream and expects the agent to end in order and to leave no process.
  void expect_clean_end();

  std::string run_directory_;
  base::UniqueFd control_;
  pid_t agent_ = -1;
  wire::HelloMessage hello_;

 private:
  wire::FrameDecoder decoder_;
  std::map<std::uint64_t, Finished> finished_;
  std::uint64_t next_id_ = 1000;
};

}  // namespace spore::test
