#include "session/agent_section.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace spore::session {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string every_byte() {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) {
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

// Processes in every state, with every kind of event.
AgentSnapshot sample() {
  AgentSnapshot snapshot;
  snapshot.next_id = 10;
  ProcessRecord& talker = snapshot.processes[1];
  talker.phase = ProcessRecord::Phase::kRunning;
  talker.started = true;
  talker.events = {Output{OutputStream::kStdout, every_byte()}, Output{OutputStream::kStderr, ""},
                   Output{OutputStream::kChannel, "ch"}, AtFixturePoint{}, AtFixturePoint{}};
  talker.output[0] = {wire::kStreamWindow, wire::kStreamWindow};
  talker.output[2] = {5, 0};
  talker.input[0] = {0, true};
  talker.fixture_points = 2;
  ProcessRecord& over = snapshot.processes[3];
  over.phase = ProcessRecord::Phase::kOver;
  over.started = true;
  over.events = {Exited{-1, 9, true}};
  ProcessRecord& lost = snapshot.processes[4];
  lost.phase = ProcessRecord::Phase::kOver;
  lost.events = {Lost{{EndReason::kPutBack, "why", "the last\nlines"}}};
  ProcessRecord& failed = snapshot.processes[9];
  failed.phase = ProcessRecord::Phase::kOver;
  failed.start_failure = wire::StartFailedMessage{2, "no such file"};
  return snapshot;
}

TEST(AgentSectionTest, EveryStateAndEventComesBack) {
  const std::string bytes = write_agent_section(sample());
  const auto read = read_agent_section(bytes, "it");
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(write_agent_section(*read), bytes);
  EXPECT_EQ(read->next_id, 10U);
  ASSERT_EQ(read->processes.size(), 4U);
  const ProcessRecord& talker = read->processes.at(1);
  EXPECT_EQ(talker.phase, ProcessRecord::Phase::kRunning);
  EXPECT_TRUE(talker.started);
  ASSERT_EQ(talker.events.size(), 5U);
  EXPECT_EQ(std::get<Output>(talker.events[0]).data, every_byte());
  EXPECT_EQ(std::get<Output>(talker.events[1]).stream, OutputStream::kStderr);
  EXPECT_EQ(std::get<Output>(talker.events[2]).stream, OutputStream::kChannel);
  EXPECT_TRUE(std::holds_alternative<AtFixturePoint>(talker.events[3]));
  EXPECT_EQ(talker.output[0].unacknowledged, wire::kStreamWindow);
  EXPECT_EQ(talker.output[0].taken, wire::kStreamWindow);
  EXPECT_EQ(talker.output[2].unacknowledged, 5U);
  EXPECT_EQ(talker.input[0].credit, 0U);
  EXPECT_TRUE(talker.input[0].closed);
  EXPECT_EQ(talker.input[1].credit, wire::kStreamWindow);
  EXPECT_EQ(talker.fixture_points, 2U);
  const auto& exited = std::get<Exited>(read->processes.at(3).events.front());
  EXPECT_EQ(exited.code, -1);
  EXPECT_EQ(exited.signal, 9);
  EXPECT_TRUE(exited.out_of_memory);
  const auto& end = std::get<Lost>(read->processes.at(4).events.front()).end;
  EXPECT_EQ(end.reason, EndReason::kPutBack);
  EXPECT_EQ(end.console_tail, "the last\nlines");
  EXPECT_EQ(read->processes.at(9).start_failure->message, "no such file");
  EXPECT_FALSE(read->processes.at(1).start_failure);
}

TEST(AgentSectionTest, WhatHasANameIsSpelledByIt) {
  const std::string bytes = write_agent_section(sample());
  for (const auto* text : {R"("phase":"running")", R"("phase":"over")", R"("stream":"stdout")",
                           R"("stream":"stderr")", R"("stream":"channel")"}) {
    EXPECT_THAT(bytes, HasSubstr(text));
  }
}

TEST(AgentSectionTest, NoProcessesAreASectionToo) {
  const auto read = read_agent_section(write_agent_section({}), "it");
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_TRUE(read->processes.empty());
  EXPECT_EQ(read->next_id, 1U);
}

TEST(AgentSectionTest, WhatAGuestSaysNeedNotBeUtf8) {
  AgentSnapshot snapshot = sample();
  snapshot.processes[9].start_failure->message = "no \xff such\xc3";
  auto& end = std::get<Lost>(snapshot.processes[4].events.front()).end;
  end.console_tail = every_byte();
  end.detail = "\x80";
  const auto read = read_agent_section(write_agent_section(snapshot), "it");
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->processes.at(9).start_failure->message, "no \xef\xbf\xbd such\xef\xbf\xbd");
}

class HostileAgentSectionTest : public ::testing::Test {
 protected:
  static Error refusal(const std::string& bytes) {
    const auto read = read_agent_section(bytes, "section agent of x");
    EXPECT_FALSE(read) << bytes;
    return read ? Error(ErrorCode::kInternal, "it was taken") : read.error();
  }
  static void expect_refused(const std::function<void(json&)>& change) {
    json section = json::parse(write_agent_section(sample()));
    change(section);
    const Error error = refusal(section.dump());
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt) << error.message();
    EXPECT_THAT(error.message(), HasSubstr("section agent of x"));
  }
  // Of the process 1.
  static void expect_record_refused(const std::function<void(json&)>& change) {
    expect_refused([&](json& section) { change(section["processes"][0]["record"]); });
  }
};

TEST_F(HostileAgentSectionTest, AnotherProtocolIsNamed) {
  for (const json& version : {json(1), json(3), json("2"), json(), json(true)}) {
    json section = json::parse(write_agent_section(sample()));
    section["protocol"] = version;
    const Error error = refusal(section.dump());
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
    EXPECT_THAT(error.message(),
                AllOf(HasSubstr("version " + version.dump()), HasSubstr("capture it again")));
  }
  for (const auto* text : {"{}", "[]", "1", "null", "\"x\""}) {
    EXPECT_EQ(refusal(text).code(), ErrorCode::kUnavailable);
  }
  EXPECT_EQ(refusal("").code(), ErrorCode::kCorrupt);
  EXPECT_EQ(refusal(R"({"protocol":2})").code(), ErrorCode::kCorrupt);
}

TEST_F(HostileAgentSectionTest, ProcessesAreNumberedAscendingBelowTheNext) {
  expect_refused([](json& s) { s["next_id"] = 9; });
  expect_refused([](json& s) { s["next_id"] = 0; });
  expect_refused([](json& s) { s["next_id"] = -1; });
  expect_refused([](json& s) { s["next_id"] = 4294967296; });
  expect_refused([](json& s) { s["processes"][0]["id"] = 0; });
  expect_refused([](json& s) { s["processes"][0]["id"] = 3; });
  expect_refused([](json& s) { s["processes"][0]["id"] = -1; });
  expect_refused([](json& s) { std::swap(s["processes"][0], s["processes"][1]); });
  expect_refused([](json& s) { s["processes"].push_back(s["processes"][3]); });
  expect_refused([](json& s) { s["processes"][0]["more"] = 1; });
  expect_refused([](json& s) { s["processes"] = nullptr; });
  expect_refused([](json& s) { s["processes"] = json::object(); });
  expect_refused([](json& s) { s["processes"][0] = json::array(); });
  expect_refused([](json& s) {
    s = {{"protocol", 2}, {"next_id", 0}, {"processes", json::array()}};
  });
}

TEST_F(HostileAgentSectionTest, EventsAreOfTheKindsThereAre) {
  const auto event = [](const json& value) {
    expect_record_refused([&](json& record) { record["events"][0] = value; });
  };
  event(nullptr);
  event(json::object());
  event(json::array());
  event("fixture_point");
  event({{"fixture_point", false}});
  event({{"fixture_point", true}, {"data", ""}});
  event({{"exited", {{"code", 0}, {"signal", 0}}}});
  event({{"exited", {{"code", 4294967296}, {"signal", 0}, {"out_of_memory", false}}}});
  event({{"exited", nullptr}});
  event({{"lost", {{"reason", 6}, {"detail", ""}, {"console_tail", ""}}}});
  event({{"lost", {{"reason", -1}, {"detail", ""}, {"console_tail", ""}}}});
  event({{"lost", {{"reason", 4294967296}, {"detail", ""}, {"console_tail", ""}}}});
  event({{"lost", {{"reason", "closed"}, {"detail", ""}, {"console_tail", ""}}}});
  event({{"stream", "stdin"}, {"data", ""}});
  event({{"stream", 1}, {"data", ""}});
  event({{"stream", "stdout"}, {"data", "0"}});
  event({{"stream", "stdout"}, {"data", "FF"}});
  event({{"stream", "stdout"}, {"data", "zz"}});
  event({{"stream", "stdout"}, {"data", 1}});
  event({{"stream", "stdout"}});
  event({{"data", ""}});
  expect_record_refused([](json& record) { record["events"] = nullptr; });
  expect_record_refused([](json& record) { record["events"] = json::object(); });
}

TEST_F(HostileAgentSectionTest, WindowsAreNoLargerThanThereIsCredit) {
  static constexpr std::uint32_t kMore = wire::kStreamWindow + 1;
  expect_record_refused([](json& r) { r["output"][0]["unacknowledged"] = kMore; });
  expect_record_refused([](json& r) { r["output"][2]["taken"] = 6; });
  expect_record_refused([](json& r) { r["output"][1]["taken"] = -1; });
  expect_record_refused([](json& r) { r["input"][0]["credit"] = kMore; });
  expect_record_refused([](json& r) { r["input"][1]["credit"] = 4294967295U; });
  expect_record_refused([](json& r) { r["output"].push_back(r["output"][0]); });
  expect_record_refused([](json& r) { r["output"].erase(2); });
  expect_record_refused([](json& r) { r["input"] = json::array(); });
  // More output than three windows hold, in one event and in many.
  expect_record_refused([](json& r) {
    r["events"][0]["data"] = std::string(2 * (3 * wire::kStreamWindow), '0');
    r["events"][1]["data"] = "00";
  });
}

TEST_F(HostileAgentSectionTest, FieldsAreThereAndOfTheirTypes) {
  const json record = json::parse(write_agent_section(sample()))["processes"][0]["record"];
  for (const auto& [key, value] : record.items()) {
    SCOPED_TRACE(key);
    expect_record_refused([&](json& r) { r.erase(key); });
    expect_record_refused([&](json& r) { r[key] = "nonsense"; });
  }
  expect_record_refused([](json& r) { r["more"] = 1; });
  expect_record_refused([](json& r) { r["phase"] = 1; });
  expect_record_refused([](json& r) { r["fixture_points"] = -1; });
  expect_record_refused([](json& r) { r["start_failure"] = json::object(); });
  expect_record_refused([](json& r) {
    r["start_failure"] = {{"error_number", 4294967296}, {"message", ""}};
  });
}

TEST_F(HostileAgentSectionTest, EveryFlippedBitIsRefusedOrAnotherSection) {
  const std::string text = write_agent_section(sample());
  for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    if (const auto read = read_agent_section(flipped, "it")) {
      EXPECT_EQ(write_agent_section(*read), flipped);
    }
  }
}

}  // namespace
}  // namespace spore::session
