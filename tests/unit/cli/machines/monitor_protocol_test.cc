// Hostile frames, for a monitor and for its clients.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/targets.h"
#include "unit/cli/machines/monitor_fixture.h"

namespace spore::cli::machines::test {
namespace {

using ::testing::HasSubstr;

std::string exec_payload(bool channel) {
  wire::ExecMessage message;
  message.argv = {"x"};
  message.channel = channel;
  return wire::to_cbor(message);
}

class MonitorProtocolTest : public MonitorTest {
 protected:
  // Sends frames and gives the error that the monitor answers with.
  std::string answer_to(const std::vector<std::pair<MonitorFrame, std::string>>& frames) {
    const auto stream = FrameStream::create(socket());
    for (const auto& [type, payload] : frames) {
      static_cast<void>((*stream)->send(type, payload));
    }
    for (;;) {
      const auto frame = (*stream)->receive();
      if (!frame || !*frame) {
        return "";
      }
      if (type_of(**frame) == MonitorFrame::kError) {
        return error_of(**frame).message();
      }
    }
  }
};

TEST_F(MonitorProtocolTest, AnotherBuildIsRefusedWithAdvice) {
  const std::string other =
      wire::to_cbor(wire::HostHelloMessage{kMonitorProtocolVersion, "0.0.0-other"});
  const std::string answer = answer_to({{MonitorFrame::kHello, other}});
  EXPECT_THAT(answer, HasSubstr("another build of spore (0.0.0-other"));
  EXPECT_THAT(answer, HasSubstr("spore rm -f"));
}

TEST_F(MonitorProtocolTest, FramesThatMakeNoSenseEndTheirConnection) {
  const std::string hello = hello_payload();
  const std::string run = exec_payload(false);
  const std::pair<MonitorFrame, std::string> greet{MonitorFrame::kHello, hello};
  const std::pair<MonitorFrame, std::string> start{MonitorFrame::kExec, run};
  const std::vector<std::vector<std::pair<MonitorFrame, std::string>>> streams = {
      {start},
      {{MonitorFrame::kHello, "no CBOR"}},
      {greet, greet},
      {greet, {MonitorFrame::kExec, "no CBOR"}},
      {greet, {MonitorFrame::kExec, exec_payload(true)}},
      {greet, {MonitorFrame::kInput, "x"}},
      {greet, {static_cast<MonitorFrame>(999), ""}},
      {greet, {MonitorFrame::kLogs, ""}},
      {greet, start, start},
      {greet, start, {MonitorFrame::kSignal, wire::to_cbor(wire::SignalMessage{0})}},
      {greet, start, {MonitorFrame::kSignal, wire::to_cbor(wire::SignalMessage{1000})}},
      {greet, start, {MonitorFrame::kInputEnd, ""}, {MonitorFrame::kInput, "x"}},
      {greet, start, {MonitorFrame::kInput, std::string(kInputWindow + 1, 'x')}},
  };
  for (std::size_t i = 0; i < streams.size(); ++i) {
    process_ = std::make_shared<ScriptedProcess>();
    EXPECT_NE(answer_to(streams[i]), "") << i;
  }
  process_ = std::make_shared<ScriptedProcess>();
  process_->end(Exited{});
  Exited exited{1, 1, false};
  output_until_end(*exec(), exited);
  EXPECT_EQ(exited.status(), 0) << "others are served as ever";
}

TEST_F(MonitorProtocolTest, BytesThatAreNoFramesEndTheirConnection) {
  const base::UniqueFd fd = socket();
  const std::string bytes(64, '\xff');
  ASSERT_EQ(write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  std::array<char, 4096> buffer;
  ssize_t got = 0;
  while ((got = read(fd.get(), buffer.data(), buffer.size())) > 0) {
  }
  EXPECT_TRUE(got == 0 || errno == ECONNRESET);
}

TEST_F(MonitorProtocolTest, MoreClientsThanItTakesAreTurnedAway) {
  std::vector<MonitorClient> clients;
  for (int i = 0; i < 64; ++i) {
    clients.push_back(client());
  }
  const auto turned_away = MonitorClient::greet(socket(), "web");
  ASSERT_FALSE(turned_away);
  EXPECT_EQ(turned_away.error().code(), ErrorCode::kResourceExhausted);
}

std::string random_frames(std::mt19937_64& random) {
  constexpr std::array<int, 8> kTypes = {16, 17, 32, 33, 34, 35, 64, 71};
  const std::array<std::string, 5> payloads = {
      exec_payload(false), wire::to_cbor(LogsMessage{true}), wire::to_cbor(wire::SignalMessage{9}),
      wire::to_cbor(wire::WindowMessage{0, 100}), std::string(100, '\x81')};
  std::string bytes;
  for (auto left = random() % 8; left > 0; --left) {
    const int type =
        random() % 4 == 0 ? static_cast<int>(random() % 80) : kTypes[random() % kTypes.size()];
    std::string payload = payloads[random() % payloads.size()];
    if (random() % 3 == 0) {
      payload[random() % payload.size()] = static_cast<char>(random());
    }
    wire::encode_frame(static_cast<std::uint16_t>(type), 0, payload, bytes);
  }
  if (!bytes.empty() && random() % 4 == 0) {
    bytes[random() % bytes.size()] = static_cast<char>(random());
  }
  return bytes;
}

TEST(Fuzz, MonitorAndClientSurviveAnyFrames) {
  std::mt19937_64 random(7);  // NOLINT: the same every time
  for (int round = 0; round < 300; ++round) {
    fuzz::machine_monitor(random_frames(random));
    fuzz::machine_client(random_frames(random));
  }
}

}  // namespace
}  // namespace spore::cli::machines::test
