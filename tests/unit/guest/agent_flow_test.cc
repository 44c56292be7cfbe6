// Credit windows, volumes and hostile bytes.
#include <gmock/gmock.h>

#include <random>

#include "unit/guest/agent_harness.h"

namespace spore::test {
namespace {

using wire::AgentFrame;

constexpr std::size_t kVolume = 10 * 1024 * 1024;

using AgentFlowTest = AgentHarness;

TEST_F(AgentFlowTest, TenMegabytesComeWholeAndInOrder) {
  const auto result = run(shell("seq 1 1400000"));
  ASSERT_GT(result.out.size(), kVolume / 2);
  std::string expected;
  for (int i = 1; i <= 1'400'000; ++i) {
    expected += std::to_string(i) + "\n";
  }
  EXPECT_TRUE(result.out == expected);
}

TEST_F(AgentFlowTest, NoMoreThanAWindowIsSentUnacknowledged) {
  exec(1, shell("head -c 1000000 /dev/zero"));
  std::size_t got = 0;
  while (got < wire::kStreamWindow) {
    const auto frame = receive();
    ASSERT_TRUE(frame);
    got +=
        frame->type == static_cast<std::uint16_t>(AgentFrame::kStdout) ? frame->payload.size() : 0;
  }
  EXPECT_EQ(got, wire::kStreamWindow);
  // Another process answers while this one waits for credit, and nothing more came before that.
  exec(2, shell("echo other"));
  for (auto frame = receive(); frame && frame->subject != 2; frame = receive()) {
    ADD_FAILURE() << "a frame over the window";
  }
  // Credit far beyond the window is a window.
  send_message(AgentFrame::kOutputWindow, 1, wire::WindowMessage{1, 0xffffffffU});
  got = 0;
  while (got < wire::kStreamWindow) {
    const auto frame = receive();
    ASSERT_TRUE(frame);
    const bool ours = frame->subject == 1;
    got += ours ? frame->payload.size() : 0;
  }
  EXPECT_EQ(got, wire::kStreamWindow);
}

TEST_F(AgentFlowTest, ExitWaitsForTheRestOfTheOutput) {
  exec(1, shell("head -c 300000 /dev/zero"));
  std::size_t got = 0;
  while (got < wire::kStreamWindow) {
    const auto frame = receive(AgentFrame::kStdout);
    ASSERT_TRUE(frame);
    got += frame->payload.size();
  }
  send_message(AgentFrame::kOutputWindow, 1,
               wire::WindowMessage{1, static_cast<std::uint32_t>(got)});
  EXPECT_EQ(got + finish(1).out.size(), 300000U);
}

// A writer that keeps to its window, over a reader that is slower.
TEST_F(AgentFlowTest, TenMegabytesGoInAtTheReadersPace) {
  wire::ExecMessage message;
  message.argv = {"wc", "-c"};
  exec(1, message);
  std::size_t credit = wire::kStreamWindow;
  for (std::size_t sent = 0; sent < kVolume;) {
    while (credit == 0) {
      credit += receive_message<wire::WindowMessage>(AgentFrame::kInputWindow).bytes;
      ASSERT_FALSE(HasFailure());
    }
    const std::size_t size = std::min({credit, std::size_t{50'000}, kVolume - sent});
    send(AgentFrame::kStdin, 1, std::string(size, 'x'));
    credit -= size;
    sent += size;
  }
  send(AgentFrame::kStdinEnd, 1);
  EXPECT_EQ(finish(1).out, std::to_string(kVolume) + "\n");
}

TEST_F(AgentFlowTest, InputForAProcessThatClosedItIsTaken) {
  exec(1, shell("exec <&-; echo closed; while :; do sleep 1000; done"));
  ASSERT_TRUE(receive(AgentFrame::kStdout));
  for (int i = 0; i < 4; ++i) {
    send(AgentFrame::kStdin, 1, std::string(wire::kStreamWindow, 'x'));
    std::uint32_t taken = 0;
    while (taken < wire::kStreamWindow) {
      taken += receive_message<wire::WindowMessage>(AgentFrame::kInputWindow).bytes;
      ASSERT_FALSE(HasFailure());
    }
  }
}

TEST_F(AgentFlowTest, InputOverTheWindowBreaksTheStream) {
  exec(1, shell("echo ready; sleep 1000"));
  ASSERT_TRUE(receive(AgentFrame::kStdout));
  for (int i = 0; i < 2; ++i) {
    send(AgentFrame::kStdin, 1, std::string(wire::kStreamWindow, 'x'));
  }
  expect_clean_end();
}

TEST_F(AgentFlowTest, UnknownTypesAndIdsAreDropped) {
  for (int type = 0; type < 200; ++type) {
    if (type == static_cast<int>(AgentFrame::kShutdown)) {
      continue;
    }
    send(static_cast<AgentFrame>(type), 77, "");
    send(static_cast<AgentFrame>(type), ~0ULL,
         "\xa1\x66number\x1b\xff\xff\xff\xff\xff\xff\xff\xff");
  }
  EXPECT_EQ(run(shell("echo alive")).out, "alive\n");
}

TEST_F(AgentFlowTest, CaptureIsRefusedWhereNothingCanBeCaptured) {
  send(AgentFrame::kPrepareCapture, 0);
  const auto prepare = receive_message<wire::FailureMessage>(AgentFrame::kCaptureFailed);
  EXPECT_THAT(prepare.message, testing::HasSubstr("that can be captured"));
  send(AgentFrame::kCapture, 0);
  const auto capture = receive_message<wire::FailureMessage>(AgentFrame::kCaptureFailed);
  EXPECT_THAT(capture.message, testing::HasSubstr("without a prepared capture"));
  send(AgentFrame::kCancelCapture, 0);
  EXPECT_EQ(run(shell("echo alive")).out, "alive\n");
}

TEST_F(AgentFlowTest, SignalsThatDoNotExistAreDropped) {
  exec(1, shell("read x; echo $x"));
  for (const int number : {0, -1, 65, 1'000'000}) {
    send_message(AgentFrame::kSignal, 1, wire::SignalMessage{number});
  }
  send(AgentFrame::kStdin, 1, "alive\n");
  EXPECT_EQ(finish(1).out, "alive\n");
}

class AgentHostileBytesTest : public AgentHarness, public testing::WithParamInterface<unsigned> {};

TEST_P(AgentHostileBytesTest, RandomPayloadsDoNotEndTheAgent) {
  std::mt19937 random(GetParam());
  for (int i = 0; i < 200; ++i) {
    std::string payload(random() % 64, '\0');
    for (auto& byte : payload) {
      byte = static_cast<char>(random());
    }
    const auto type = static_cast<AgentFrame>(1 + random() % 100);
    if (type != AgentFrame::kShutdown) {
      send(type, random() % 4, payload);
    }
  }
  EXPECT_EQ(run(shell("echo alive")).out, "alive\n");
}

TEST_P(AgentHostileBytesTest, RandomBytesEndTheStreamInOrder) {
  std::mt19937 random(GetParam());
  exec(1, shell("echo ready; sleep 1000"));
  ASSERT_TRUE(receive(AgentFrame::kStdout));
  std::string bytes(4096, '\0');
  for (auto& byte : bytes) {
    byte = static_cast<char>(random());
  }
  bytes[6] = 1;  // a reserved field that is not zero: no frame for sure
  send_raw(bytes);
  expect_clean_end();
}

INSTANTIATE_TEST_SUITE_P(Seeds, AgentHostileBytesTest, testing::Range(1U, 6U));

}  // namespace
}  // namespace spore::test
