#include "session/agent_client.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "fuzz/targets.h"
#include "wire/frame.h"

namespace spore::session {
namespace {

using wire::AgentFrame;

// A client whose guest is played by the test.
class AgentClientTest : public ::testing::Test {
 protected:
  AgentClient::Send into(std::vector<wire::Frame>& frames) {
    return [this, &frames](std::string_view bytes) -> Result<void> {
      decoder_.feed(bytes);
      while (const auto frame = decoder_.next().value()) {
        frames.push_back(*frame);
      }
      return {};
    };
  }
  static Result<void> feed(AgentClient& client, AgentFrame type, std::uint64_t id,
                           std::string_view payload = {}) {
    std::string bytes;
    wire::encode_frame(static_cast<std::uint16_t>(type), id, payload, bytes);
    return client.feed(bytes);
  }
  static AgentSnapshot with_running_process() {
    AgentSnapshot snapshot;
    snapshot.processes[1].phase = ProcessRecord::Phase::kRunning;
    snapshot.next_id = 2;
    return snapshot;
  }
  static std::shared_ptr<AgentClient> child(AgentClient::Send send, const AgentSnapshot& snapshot) {
    auto client = AgentClient::clone_for_child(std::move(send), snapshot);
    EXPECT_TRUE(feed(*client, AgentFrame::kGeneration, 0,
                     wire::to_cbor(wire::GenerationMessage{1, "x", 2})));
    EXPECT_TRUE(client->wait_ready(Clock::now()));
    return client;
  }

  std::vector<wire::Frame> sent_;
  wire::FrameDecoder decoder_;
};

TEST_F(AgentClientTest, NothingIsTakenBeforeTheFirstWord) {
  const auto client = AgentClient::for_boot(into(sent_));
  EXPECT_FALSE(feed(*client, AgentFrame::kStdout, 1, "early"));
  EXPECT_EQ(client->ended()->reason, EndReason::kEngineFailed);
  EXPECT_TRUE(feed(*client, AgentFrame::kStdout, 1, "more"));  // told once
}

TEST_F(AgentClientTest, CreditGoesBackInLumps) {
  const auto client = child(into(sent_), with_running_process());
  const auto process = client->process(1);
  const std::string piece(30 * 1024, 'x');
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(feed(*client, AgentFrame::kStdout, 1, piece));
    ASSERT_TRUE(process->next_event(Milliseconds{0}).has_value());
  }
  EXPECT_TRUE(sent_.empty());
  ASSERT_TRUE(feed(*client, AgentFrame::kStdout, 1, piece));
  ASSERT_TRUE(process->next_event(Milliseconds{0}).has_value());
  ASSERT_EQ(sent_.size(), 1U);
  const auto window = wire::from_cbor<wire::WindowMessage>(sent_[0].payload).value();
  EXPECT_EQ(window.stream, 1);
  EXPECT_EQ(window.bytes, 3 * piece.size());
}

TEST_F(AgentClientTest, SmallOutputIsJoined) {
  const auto client = child(into(sent_), with_running_process());
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(feed(*client, AgentFrame::kStdout, 1, "ab"));
  }
  ASSERT_TRUE(feed(*client, AgentFrame::kStderr, 1, "c"));
  const auto process = client->process(1);
  EXPECT_EQ(std::get<Output>(*process->next_event(Milliseconds{0})).data.size(), 2000U);
  EXPECT_EQ(std::get<Output>(*process->next_event(Milliseconds{0})).stream, OutputStream::kStderr);
}

TEST_F(AgentClientTest, EachWindowIsItsOwnAndExact) {
  const auto client = child(into(sent_), with_running_process());
  const std::string half(wire::kStreamWindow / 2, 'x');
  for (const auto stream : {AgentFrame::kStdout, AgentFrame::kStderr, AgentFrame::kChannelOut}) {
    ASSERT_TRUE(feed(*client, stream, 1, half));
    ASSERT_TRUE(feed(*client, stream, 1, half));
  }
  EXPECT_FALSE(feed(*client, AgentFrame::kStderr, 1, "x"));
}

TEST_F(AgentClientTest, InputStopsAtTheWindowUntilCreditComes) {
  const auto client = child(into(sent_), with_running_process());
  const auto process = client->process(1);
  ASSERT_TRUE(process->write_stdin(std::string(wire::kStreamWindow, 'i')));
  std::size_t sent = 0;
  for (const auto& frame : sent_) {
    sent += frame.payload.size();
  }
  EXPECT_EQ(sent, wire::kStreamWindow);
  sent_.clear();
  ASSERT_TRUE(feed(*client, AgentFrame::kInputWindow, 1, wire::to_cbor(wire::WindowMessage{0, 5})));
  ASSERT_TRUE(process->write_stdin("12345"));
  EXPECT_EQ(sent_.back().payload, "12345");
  ASSERT_TRUE(process->close_stdin());
  ASSERT_TRUE(process->close_stdin());
  EXPECT_EQ(sent_.back().type, static_cast<std::uint16_t>(AgentFrame::kStdinEnd));
  EXPECT_EQ(sent_.size(), 2U);
  EXPECT_EQ(process->write_stdin("x").error().code(), ErrorCode::kInvalidArgument);
}

TEST_F(AgentClientTest, AChildIsSilentUntilItsGenerationIsDone) {
  AgentSnapshot snapshot = with_running_process();
  snapshot.processes[1].output[0] = {.unacknowledged = 100'000, .taken = 100'000};
  const auto client = AgentClient::clone_for_child(into(sent_), snapshot);
  ASSERT_TRUE(
      feed(*client, AgentFrame::kGeneration, 0, wire::to_cbor(wire::GenerationMessage{1, "x", 2})));
  EXPECT_TRUE(sent_.empty());
  ASSERT_TRUE(client->wait_ready(Clock::now()));
  // The credit that the parent's consumer had earned goes to this child's guest.
  ASSERT_EQ(sent_.size(), 1U);
  EXPECT_EQ(wire::from_cbor<wire::WindowMessage>(sent_[0].payload)->bytes, 100'000U);
}

TEST_F(AgentClientTest, HostileMessagesNeitherThrowNorExhaustTheStack) {
  const std::string deep(wire::kMaxPayload, '\x81');  // arrays in arrays
  const std::string endless = std::string("\x9b", 1) + std::string(8, '\xff');
  const std::string endless_text = std::string("\x7b", 1) + std::string(8, '\xff');
  for (const std::string& payload : {deep, endless, endless_text, std::string("\xa1")}) {
    const auto client = child(into(sent_), with_running_process());
    EXPECT_FALSE(feed(*client, AgentFrame::kExited, 1, payload));
  }
}

TEST_F(AgentClientTest, ExitStatusesAreChecked) {
  const auto client = child(into(sent_), with_running_process());
  EXPECT_FALSE(
      feed(*client, AgentFrame::kExited, 1, wire::to_cbor(wire::ExitedMessage{-1, 0, false})));
}

// Frames that are nearly right reach further than noise does.
std::string random_frames(std::mt19937& random, std::uint16_t first_type, std::uint16_t types) {
  std::string bytes;
  for (int i = 0; i < 12; ++i) {
    std::string payload;
    switch (random() % 4) {
      case 0:
        payload = wire::to_cbor(wire::WindowMessage{static_cast<std::uint8_t>(random() % 5),
                                                    static_cast<std::uint32_t>(random() % 9)});
        break;
      case 1:
        payload = wire::to_cbor(
            wire::ExitedMessage{static_cast<int>(random() % 300), 0, random() % 2 == 0});
        break;
      case 2:
        payload.assign(random() % 100, static_cast<char>(random()));
        break;
      default:
        break;
    }
    wire::encode_frame(static_cast<std::uint16_t>(first_type + random() % types), random() % 5,
                       payload, bytes);
  }
  if (random() % 2 == 0) {
    bytes[random() % bytes.size()] = static_cast<char>(random());
  }
  return bytes;
}

TEST(Fuzz, AgentClientReplaysSeeds) {
  std::mt19937 random(20'26);
  for (int round = 0; round < 4000; ++round) {
    fuzz::agent_client(random_frames(random, 64, 14));
  }
}

TEST(Fuzz, RemoteHostReplaysSeeds) {
  std::mt19937 random(20'27);
  for (int round = 0; round < 500; ++round) {
    fuzz::remote_host(random_frames(random, 64, 6));
  }
}

TEST(Fuzz, ServeReplaysSeeds) {
  std::mt19937 random(20'28);
  for (int round = 0; round < 500; ++round) {
    fuzz::serve(random_frames(random, 16, 18));
  }
}

}  // namespace
}  // namespace spore::session
