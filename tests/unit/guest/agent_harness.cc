#include "unit/guest/agent_harness.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "agent/agent.h"

namespace spore::test {

using wire::AgentFrame;

namespace {

constexpr int kBoundMilliseconds = 60'000;

}  // namespace

void AgentHarness::SetUp() {
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  std::string pattern = (std::filesystem::temp_directory_path() / "spore-agent-XXXXXX").string();
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  run_directory_ = pattern;
  std::array<int, 2> pair{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  agent_ = ::fork();
  ASSERT_GE(agent_, 0);
  if (agent_ == 0) {
    ::close(pair[0]);
    agent::AgentOptions options;
    options.run_directory = run_directory_;
    const auto result = agent::run_agent(pair[1], options);
    ::_exit(!result ? 3 : *result == agent::AgentEnd::kShutdown ? 10 : 0);
  }
  ::close(pair[1]);
  control_.reset(pair[0]);
  hello_ = receive_message<wire::HelloMessage>(AgentFrame::kHello);
}

void AgentHarness::TearDown() {
  if (agent_ > 0) {
    expect_clean_end();
  }
  std::filesystem::remove_all(run_directory_);
}

void AgentHarness::expect_clean_end() {
  control_.reset();
  int status = 0;
  ASSERT_EQ(::waitpid(agent_, &status, 0), agent_);
  agent_ = -1;
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  const pid_t left = ::waitpid(-1, &status, WNOHANG);
  EXPECT_EQ(left, -1) << "the agent left a process behind";
  EXPECT_EQ(errno, ECHILD);
}

void AgentHarness::send(AgentFrame type, std::uint64_t id, std::string_view payload) {
  std::string bytes;
  wire::encode_frame(static_cast<std::uint16_t>(type), id, payload, bytes);
  send_raw(bytes);
}

void AgentHarness::send_raw(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto sent = ::send(control_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) {
      return;  // the agent ended the stream; what comes next will tell
    }
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

std::optional<wire::Frame> AgentHarness::receive() {
  while (true) {
    auto frame = decoder_.next();
    if (!frame) {
      ADD_FAILURE() << frame.error().message();
      return std::nullopt;
    }
    if (frame->has_value()) {
      return std::move(**frame);
    }
    pollfd readable{control_.get(), POLLIN, 0};
    if (::poll(&readable, 1, kBoundMilliseconds) <= 0) {
      ADD_FAILURE() << "the agent says nothing more";
      return std::nullopt;
    }
    std::array<char, 65536> buffer;
    const auto got = ::read(control_.get(), buffer.data(), buffer.size());
    if (got <= 0) {
      ADD_FAILURE() << "the agent ended the stream";
      return std::nullopt;
    }
    decoder_.feed({buffer.data(), static_cast<std::size_t>(got)});
  }
}

std::optional<wire::Frame> AgentHarness::receive(AgentFrame type) {
  while (auto frame = receive()) {
    if (frame->type == static_cast<std::uint16_t>(type)) {
      return frame;
    }
    note(*frame);
  }
  return std::nullopt;
}

wire::ExecMessage AgentHarness::shell(const std::string& script) {
  wire::ExecMessage message;
  message.argv = {"sh", "-c", script};
  return message;
}

void AgentHarness::exec(std::uint64_t id, const wire::ExecMessage& message) {
  send_message(AgentFrame::kExec, id, message);
}

void AgentHarness::note(const wire::Frame& frame) {
  auto& process = finished_[frame.subject];
  std::uint8_t stream = 0;
  switch (static_cast<AgentFrame>(frame.type)) {
    case AgentFrame::kStdout:
      process.out += frame.payload;
      stream = 1;
      break;
    case AgentFrame::kStderr:
      process.err += frame.payload;
      stream = 2;
      break;
    case AgentFrame::kChannelOut:
      process.channel += frame.payload;
      stream = 3;
      break;
    case AgentFrame::kExited:
      process.exited = wire::from_cbor<wire::ExitedMessage>(frame.payload).value();
      return;
    case AgentFrame::kStartFailed:
      process.start_failed = wire::from_cbor<wire::StartFailedMessage>(frame.payload).value();
      return;
    default:
      return;
  }
  EXPECT_FALSE(process.exited) << "output after the last frame";
  send_message(AgentFrame::kOutputWindow, frame.subject,
               wire::WindowMessage{stream, static_cast<std::uint32_t>(frame.payload.size())});
}

Finished AgentHarness::finish(std::uint64_t id) {
  while (!finished_[id].exited && !finished_[id].start_failed) {
    const auto frame = receive();
    if (!frame) {
      break;
    }
    note(*frame);
  }
  return finished_[id];
}

Finished AgentHarness::run(const wire::ExecMessage& message) {
  const auto id = next_id_++;
  exec(id, message);
  return finish(id);
}

}  // namespace spore::test
