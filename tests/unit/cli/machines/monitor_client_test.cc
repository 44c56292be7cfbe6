// A client of monitors that talk nonsense, or die.
#include "cli/machines/monitor_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "support/remote_pair.h"

namespace spore::cli::machines {
namespace {

using ::testing::HasSubstr;

constexpr Milliseconds kBound{20'000};

// The client of a monitor that sends these frames after its greeting.
Result<MonitorClient> client_of(const std::vector<std::pair<MonitorFrame, std::string>>& frames,
                                const std::string& hello = hello_payload()) {
  auto [ours, theirs] = testing::make_socket_pair();
  const auto stream = FrameStream::create(std::move(theirs));
  EXPECT_TRUE((*stream)->send(MonitorFrame::kHello, hello));
  for (const auto& [type, payload] : frames) {
    EXPECT_TRUE((*stream)->send(type, payload));
  }
  return MonitorClient::greet(std::move(ours), "web");
}

TEST(MonitorClient, RefusesAMonitorOfAnotherBuild) {
  const auto client =
      client_of({}, wire::to_cbor(wire::HostHelloMessage{kMonitorProtocolVersion + 1, "9"}));
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code(), ErrorCode::kUnavailable);
  EXPECT_FALSE(client_of({}, "no CBOR"));
}

TEST(MonitorClient, AMonitorThatTalksNonsenseLosesTheProcess) {
  const std::vector<std::pair<MonitorFrame, std::string>> nonsense = {
      {MonitorFrame::kExited, "no CBOR"},
      {MonitorFrame::kLost, wire::to_cbor(LogsMessage{})},
      {MonitorFrame::kInputWindow, wire::to_cbor(wire::WindowMessage{0, 1})},
      {MonitorFrame::kHello, hello_payload()},
      {MonitorFrame::kConsole, "text"},
      {static_cast<MonitorFrame>(1234), ""},
      {MonitorFrame::kError, "no CBOR"},
  };
  for (const auto& frame : nonsense) {
    auto client = client_of({{MonitorFrame::kDone, ""}, frame});
    ASSERT_TRUE(client);
    const auto process = client->exec({.argv = {"x"}});
    ASSERT_TRUE(process) << process.error().message();
    const auto event = (*process)->next_event(kBound);
    ASSERT_TRUE(event);
    EXPECT_TRUE(std::holds_alternative<Lost>(*event)) << static_cast<int>(frame.first);
  }
  EXPECT_FALSE(client_of({{MonitorFrame::kStdout, "x"}})->exec({.argv = {"x"}}));
  EXPECT_FALSE(client_of({{MonitorFrame::kStdout, "x"}})->logs(false, {}));
  const wire::ErrorMessage odd{1000, "x"};
  EXPECT_EQ(
      client_of({{MonitorFrame::kError, wire::to_cbor(odd)}})->exec({.argv = {"x"}}).error().code(),
      ErrorCode::kCorrupt);
}

TEST(MonitorClient, HearsOfAMonitorThatDied) {
  auto client = client_of({{MonitorFrame::kDone, ""}});
  const auto process = client->exec({.argv = {"x"}});
  ASSERT_TRUE(process);
  const auto event = (*process)->next_event(kBound);
  ASSERT_TRUE(event && std::holds_alternative<Lost>(*event));
  EXPECT_THAT(std::get<Lost>(*event).end.detail, HasSubstr("the monitor of web is gone"));
}

}  // namespace
}  // namespace spore::cli::machines
