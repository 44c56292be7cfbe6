// The fixture point, from both sides: libspore_guest against the agent, and against an agent played
// by the test.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "spore_guest.h"
#include "unit/guest/agent_harness.h"

namespace spore::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using wire::AgentFrame;

class FixtureTest : public AgentHarness {
 protected:
  wire::ExecMessage sample(const std::vector<std::string>& arguments) {
    wire::ExecMessage message;
    message.argv = {SPORE_GTEST_SAMPLE};
    message.argv.insert(message.argv.end(), arguments.begin(), arguments.end());
    message.env["SPORE_AGENT_SOCKET"] = run_directory_ + "/agent.sock";
    return message;
  }
};

TEST_F(FixtureTest, AProcessWaitsAndIsReleased) {
  exec(5, sample({"--gtest_filter=Sample.Passes"}));
  const auto waits = receive(AgentFrame::kFixturePoint);
  ASSERT_TRUE(waits);
  EXPECT_EQ(waits->subject, 5U);
  send(AgentFrame::kReleaseFixture, 5);
  const auto result = finish(5);
  EXPECT_EQ(result.exited.value().code, 0) << result.out;
  EXPECT_THAT(result.out, HasSubstr("1 test from 1 test suite ran"));
}

TEST_F(FixtureTest, AChildOfTheProcessWaitsForIt) {
  auto message = sample({"--gtest_filter=Sample.Passes"});
  message.argv = {"sh", "-c", std::string("sh -c '") + SPORE_GTEST_SAMPLE + "; true'; true"};
  exec(5, message);
  const auto waits = receive(AgentFrame::kFixturePoint);
  ASSERT_TRUE(waits);
  EXPECT_EQ(waits->subject, 5U);
}

TEST_F(FixtureTest, SeveralWaitAndEachIsReleasedByItself) {
  exec(1, sample({"--gtest_filter=Sample.Passes"}));
  exec(2, sample({"--gtest_filter=Sample.Passes"}));
  ASSERT_TRUE(receive(AgentFrame::kFixturePoint));
  ASSERT_TRUE(receive(AgentFrame::kFixturePoint));
  send(AgentFrame::kReleaseFixture, 2);
  EXPECT_EQ(finish(2).exited.value().code, 0);
  send(AgentFrame::kReleaseFixture, 1);
  EXPECT_EQ(finish(1).exited.value().code, 0);
}

TEST_F(FixtureTest, WhatIsPrintedBeforeAFixturePointIsSentBeforeIt) {
  for (std::uint64_t id = 1; id <= 30; ++id) {
    auto message = sample({"--gtest_filter=Sample.Passes"});
    message.env["SAMPLE_PRINTS"] = "1";
    exec(id, message);
    std::string printed;
    for (auto frame = receive(); frame; frame = receive()) {
      note(*frame);
      if (frame->type == static_cast<std::uint16_t>(AgentFrame::kFixturePoint)) {
        break;
      }
      printed += frame->payload;
    }
    EXPECT_THAT(printed, HasSubstr("prepared\n"));
    send(AgentFrame::kReleaseFixture, id);
    EXPECT_EQ(finish(id).exited.value().code, 0);
  }
}

TEST_F(FixtureTest, AWaitingProcessThatIsKilledIsForgotten) {
  exec(1, sample({}));
  ASSERT_TRUE(receive(AgentFrame::kFixturePoint));
  send_message(AgentFrame::kSignal, 1, wire::SignalMessage{SIGKILL});
  EXPECT_EQ(finish(1).exited.value().signal, SIGKILL);
  send(AgentFrame::kReleaseFixture, 1);
  EXPECT_EQ(run(shell("echo alive")).out, "alive\n");
}

TEST_F(FixtureTest, AFailingSetUpDoesNotReachTheFixturePoint) {
  auto message = sample({});
  message.env["SAMPLE_FAILS"] = "1";
  const auto result = run(message);
  EXPECT_EQ(result.exited.value().code, 1);
  EXPECT_THAT(result.out, HasSubstr("the set-up failed"));
}

TEST_F(FixtureTest, ListingTestsDoesNotReachTheFixturePoint) {
  const auto result = run(sample({"--gtest_list_tests"}));
  EXPECT_EQ(result.out, "Sample.\n  Passes\n  PassesToo\n  PassesAlso\n");
}

TEST_F(FixtureTest, NonsenseOnTheSocketIsDropped) {
  ::setenv("SPORE_AGENT_SOCKET", (run_directory_ + "/agent.sock").c_str(), 1);
  spore_generation generation{};
  // The test is no process of the agent: it may ask, but not wait.
  EXPECT_EQ(spore_generation_get(&generation), 0);
  EXPECT_EQ(generation.shard_count, 1U);
  EXPECT_EQ(spore_fixture_point(&generation), -1);
  EXPECT_EQ(errno, ECONNRESET);
  ::unsetenv("SPORE_AGENT_SOCKET");
  const auto socket = run_directory_ + "/agent.sock";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const std::string nonsense(100'000, 'x');
  EXPECT_GT(::send(fd.get(), nonsense.data(), nonsense.size(), MSG_NOSIGNAL | MSG_DONTWAIT), 0);
  EXPECT_EQ(run(shell("echo alive")).out, "alive\n");
}

// ---- against an agent played here
// -----------------------------------------------------------------

constexpr const char* kForked =
    R"({"child_count":3,"child_index":2,"hostname":"h\"\u00e9","id":"0123456789abcdef0123456789abcdef",)"
    R"("mac":"02:00:00:00:00:01","name":"n","number":7,"parent_id":"ff","shard_count":3,)"
    R"("shard_index":2,"user":{"empty":"","key":"a\tb","nested":{"key":[1,"}"]},"last":"z"}})"
    "\n";

// Answers `generation` with number 6 and `fixture-point` with kForked, until it is destroyed.
class PlayedAgent {
 public:
  explicit PlayedAgent(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(listener_.get(), 8), 0);
    thread_ = std::thread([this] { serve(); });
    ::setenv("SPORE_AGENT_SOCKET", path.c_str(), 1);
  }
  ~PlayedAgent() {
    ::unsetenv("SPORE_AGENT_SOCKET");
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }

 private:
  void serve() const {
    while (true) {
      const base::UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client.valid()) {
        return;
      }
      std::array<char, 64> request{};
      const auto got = ::read(client.get(), request.data(), request.size());
      const bool fixture = got > 0 && request[0] == 'f';
      const std::string answer = fixture || forked_ ? kForked : "{\"number\":6}\n";
      forked_ = forked_ || fixture;
      EXPECT_EQ(::write(client.get(), answer.data(), answer.size()),
                static_cast<ssize_t>(answer.size()));
    }
  }

  base::UniqueFd listener_;
  mutable bool forked_ = false;
  std::thread thread_;
};

class GuestLibraryTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "spore-guest-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { EXPECT_EQ(std::system(("rm -r " + directory_).c_str()), 0); }
  std::string directory_;
};

// Callbacks cannot be taken back: these two are registered once and note that they were called.
std::vector<int> called;
int first = 1;
int second = 2;

void note_call(const spore_generation* generation, void* argument) {
  EXPECT_EQ(generation->number, 7U);
  called.push_back(*static_cast<int*>(argument));
}

bool register_callbacks() {
  return spore_on_generation(note_call, &first) == 0 &&
         spore_on_generation(note_call, &second) == 0;
}

TEST_F(GuestLibraryTest, OutsideAMachineItIsTheOnlyOne) {
  ::setenv("SPORE_AGENT_SOCKET", (directory_ + "/none").c_str(), 1);
  spore_generation generation{};
  EXPECT_EQ(spore_fixture_point(&generation), 0);
  EXPECT_EQ(generation.number, 0U);
  EXPECT_EQ(generation.child_count, 1U);
  EXPECT_EQ(generation.shard_index, 0U);
  EXPECT_EQ(generation.shard_count, 1U);
  EXPECT_STREQ(generation.id, "");
  EXPECT_EQ(spore_fixture_point(nullptr), 0);
  EXPECT_EQ(spore_failure_point(), 0);
  std::array<char, 8> buffer{};
  EXPECT_EQ(spore_generation_user("key", buffer.data(), buffer.size()), -1);
  ::unsetenv("SPORE_AGENT_SOCKET");
}

TEST_F(GuestLibraryTest, AChildLearnsWhoItIsAndCallsBack) {
  const PlayedAgent agent(directory_ + "/agent.sock");
  static const bool registered = register_callbacks();
  ASSERT_TRUE(registered);
  called.clear();
  spore_generation generation{};
  ASSERT_EQ(spore_fixture_point(&generation), 0);
  EXPECT_THAT(called, ElementsAre(1, 2));
  EXPECT_STREQ(generation.id, "0123456789abcdef0123456789abcdef");
  EXPECT_STREQ(generation.parent_id, "ff");
  EXPECT_STREQ(generation.hostname, "h\"\xc3\xa9");
  EXPECT_STREQ(generation.mac, "02:00:00:00:00:01");
  EXPECT_EQ(generation.child_index, 2U);
  EXPECT_EQ(generation.child_count, 3U);
  std::array<char, 8> buffer{};
  EXPECT_EQ(spore_generation_user("key", buffer.data(), buffer.size()), 3);
  EXPECT_STREQ(buffer.data(), "a\tb");
  EXPECT_EQ(spore_generation_user("last", buffer.data(), 1), 1);
  EXPECT_STREQ(buffer.data(), "");
  EXPECT_EQ(spore_generation_user("empty", buffer.data(), buffer.size()), 0);
  EXPECT_EQ(spore_generation_user("number", buffer.data(), buffer.size()), -1);
}

TEST_F(GuestLibraryTest, AFailureThatWasKeptIsToldFromTheFirst) {
  const PlayedAgent agent(directory_ + "/agent.sock");
  EXPECT_EQ(spore_failure_point(), 1) << "another generation answers";
  EXPECT_EQ(spore_failure_point(), 0) << "the same one does";
}

// ---- spore_gtest_main
// ----------------------------------------------------------------------------

TEST_F(GuestLibraryTest, GtestMainTellsTheStackOfACrash) {
  const PlayedAgent agent(directory_ + "/agent.sock");  // the third of three shards
  const auto path = directory_ + "/out";
  const int status =
      std::system(fmt::format("SAMPLE_CRASHES=1 {} >{} 2>&1", SPORE_GTEST_SAMPLE, path).c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGSEGV) << "it ends as it would have";
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_THAT(text.str(), HasSubstr("about to crash\n"));
  EXPECT_THAT(text.str(), HasSubstr(fmt::format("spore-stack: {}+0x", SPORE_GTEST_SAMPLE)));
}

// The sample's whole output with a shard named by the generation is that of GoogleTest's own
// sharding, but for the time and the moment at which environments are set up.
TEST_F(GuestLibraryTest, GtestMainRunsTheShardOfTheGeneration) {
  const auto output_of = [&](const std::string& command) {
    const auto path = directory_ + "/out";
    EXPECT_EQ(std::system((command + " --gtest_print_time=0 >" + path).c_str()), 0);
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  };
  std::string forked;
  {
    const PlayedAgent agent(directory_ + "/agent.sock");
    forked = output_of(SPORE_GTEST_SAMPLE);
  }
  const auto plain = output_of(
      "SPORE_AGENT_SOCKET=/nonexistent GTEST_TOTAL_SHARDS=3 "
      "GTEST_SHARD_INDEX=2 " SPORE_GTEST_SAMPLE);
  EXPECT_EQ(forked, plain);
  EXPECT_THAT(forked, HasSubstr("Note: This is test shard 3 of 3."));
  EXPECT_THAT(forked, HasSubstr("[       OK ] Sample.PassesAlso"));
  EXPECT_THAT(forked, testing::Not(HasSubstr("Sample.PassesToo")));
}

}  // namespace
}  // namespace spore::test
