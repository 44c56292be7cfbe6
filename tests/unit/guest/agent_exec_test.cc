#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/guest/agent_harness.h"

namespace spore::test {
namespace {

using testing::HasSubstr;
using wire::AgentFrame;

using AgentExecTest = AgentHarness;

TEST_F(AgentExecTest, HelloNamesVersionAndKernel) {
  EXPECT_EQ(hello_.version, wire::kAgentProtocolVersion);
  EXPECT_FALSE(hello_.kernel_release.empty());
}

TEST_F(AgentExecTest, OutputComesOnItsStreamAndBeforeTheExit) {
  const auto result = run(shell("echo out; echo err >&2; exit 7"));
  EXPECT_EQ(result.out, "out\n");
  EXPECT_EQ(result.err, "err\n");
  ASSERT_TRUE(result.exited);
  EXPECT_EQ(result.exited->code, 7);
  EXPECT_EQ(result.exited->signal, 0);
  EXPECT_FALSE(result.exited->out_of_memory);
}

TEST_F(AgentExecTest, EnvironmentIsTheRequestsWithDefaults) {
  wire::ExecMessage message;
  message.argv = {"env"};
  message.env = {{"A", "1"}, {"TERM", "vt100"}};
  const auto result = run(message);
  EXPECT_THAT(result.out, HasSubstr("A=1\n"));
  EXPECT_THAT(result.out, HasSubstr("TERM=vt100\n"));
  EXPECT_THAT(result.out, HasSubstr("PATH=/usr/local/sbin:"));
  EXPECT_THAT(result.out, HasSubstr("HOME="));
  EXPECT_THAT(result.out, testing::Not(HasSubstr("SPORE_CHANNEL_FD")));
}

TEST_F(AgentExecTest, ProgramIsLookedUpInTheRequestsPath) {
  auto message = shell("exit 0");
  message.env["PATH"] = "/nonexistent";
  const auto result = run(message);
  ASSERT_TRUE(result.start_failed);
  EXPECT_EQ(result.start_failed->error_number, ENOENT);
  EXPECT_THAT(result.start_failed->message, HasSubstr("no such program: sh"));
}

TEST_F(AgentExecTest, StartFailuresSayWhy) {
  wire::ExecMessage message;
  message.argv = {"/nonexistent/program"};
  EXPECT_THAT(run(message).start_failed.value().message,
              HasSubstr("no such program: /nonexistent/program"));
  message.argv = {"/etc/passwd"};
  EXPECT_EQ(run(message).start_failed.value().error_number, EACCES);
  message.argv = {};
  EXPECT_EQ(run(message).start_failed.value().error_number, EINVAL);
  const auto script = run_directory_ + "/script";
  EXPECT_EQ(
      run(shell("printf '#!/nonexistent/sh' >" + script + "; chmod 755 " + script)).exited->code,
      0);
  message.argv = {"script"};
  message.env["PATH"] = "/nonexistent:" + run_directory_;
  EXPECT_THAT(run(message).start_failed.value().message, HasSubstr("interpreter"));
  message = shell("exit 0");
  message.workdir = "/nonexistent/place";
  EXPECT_THAT(run(message).start_failed.value().message, HasSubstr("/nonexistent/place"));
  message = shell("exit 0");
  message.user = "nobody-of-that-name";
  EXPECT_THAT(run(message).start_failed.value().message, HasSubstr("nobody-of-that-name"));
}

TEST_F(AgentExecTest, WorkingDirectoryIsTheRequests) {
  auto message = shell("pwd");
  message.workdir = run_directory_;
  EXPECT_EQ(run(message).out, run_directory_ + "\n");
}

TEST_F(AgentExecTest, UserIsTheRequests) {
  if (::getuid() != 0) {
    GTEST_SKIP() << "needs root to become another user";
  }
  auto message = shell("id -u; id -g; id -G");
  message.user = "daemon";
  EXPECT_EQ(run(message).out, "1\n1\n1\n");
  message.user = "54321";
  EXPECT_EQ(run(message).out, "54321\n54321\n54321\n");
}

TEST_F(AgentExecTest, ProcessHasOnlyItsDescriptorsAndDefaultSignals) {
  const auto result = run(shell("ls /proc/self/fd; grep -E '^Sig(Blk|Ign)' /proc/self/status"));
  EXPECT_EQ(result.out,
            "0\n1\n2\n3\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");  // 3 is ls's own
}

TEST_F(AgentExecTest, ProcessLeadsItsOwnSession) {
  const auto result =
      run(shell("read -r pid command state ppid group session rest "
                "</proc/self/stat; test $$ = $session && echo leads"));
  EXPECT_EQ(result.out, "leads\n");
}

TEST_F(AgentExecTest, StdinIsPassedOnAndEnds) {
  wire::ExecMessage message;
  message.argv = {"cat"};
  exec(1, message);
  send(AgentFrame::kStdin, 1, "hello ");
  send(AgentFrame::kStdin, 1, "world");
  send(AgentFrame::kStdinEnd, 1);
  const auto result = finish(1);
  EXPECT_EQ(result.out, "hello world");
  EXPECT_EQ(result.exited.value().code, 0);
}

TEST_F(AgentExecTest, SignalReachesTheProcessAndWhatItStarted) {
  exec(1, shell("sleep 1000 & echo ready; wait"));
  ASSERT_TRUE(receive(AgentFrame::kStdout));
  send_message(AgentFrame::kSignal, 1, wire::SignalMessage{SIGTERM});
  EXPECT_EQ(finish(1).exited.value().signal, SIGTERM);
  EXPECT_EQ(run(shell("ps -eo args | grep -c '^sleep 1000$'")).out, "0\n");
}

TEST_F(AgentExecTest, BackgroundProcessesDoNotHoldTheExit) {
  const auto result = run(shell("sleep 1000 & echo done"));
  EXPECT_EQ(result.out, "done\n");
  EXPECT_EQ(result.exited.value().code, 0);
}

TEST_F(AgentExecTest, BackgroundProcessesGoOnWritingAfterTheExit) {
  const auto fifo = run_directory_ + "/fifo";
  const auto result =
      run(shell("mkfifo " + fifo + "; (read x <" + fifo +
                "; for i in 1 2 3; do echo much || exit 1; done; echo alive >" + fifo + ") &"));
  ASSERT_EQ(result.exited.value().code, 0);
  EXPECT_EQ(run(shell("echo go >" + fifo + "; cat " + fifo)).out, "alive\n");
}

TEST_F(AgentExecTest, SeveralRunAtOnce) {
  constexpr std::uint64_t kCount = 16;
  wire::ExecMessage message;
  message.argv = {"cat"};
  for (std::uint64_t id = 1; id <= kCount; ++id) {
    exec(id, message);
  }
  for (std::uint64_t id = 1; id <= kCount; ++id) {
    send(AgentFrame::kStdin, id, std::to_string(id));
  }
  for (std::uint64_t id = kCount; id >= 1; --id) {
    send(AgentFrame::kStdinEnd, id);
    EXPECT_EQ(finish(id).out, std::to_string(id));
  }
}

TEST_F(AgentExecTest, AnIdInUseIsRefusedAndCanBeUsedAgain) {
  exec(1, shell("read x; echo $x"));
  ASSERT_TRUE(receive(AgentFrame::kStarted));
  exec(1, shell("echo other"));
  const auto refused = receive_message<wire::StartFailedMessage>(AgentFrame::kStartFailed);
  EXPECT_EQ(refused.error_number, EEXIST);
  send(AgentFrame::kStdin, 1, "first\n");
  EXPECT_EQ(finish(1).out, "first\n");
  exec(1, shell("exit 3"));
  EXPECT_EQ(receive_message<wire::ExitedMessage>(AgentFrame::kExited).code, 3);
}

TEST_F(AgentExecTest, TerminalHasItsSizeAndResizes) {
  auto message = shell(
      "test -t 0 && test -t 2 && stty size; trap 'stty size; exit 0' WINCH; "
      "echo ready; while :; do read x; done");
  message.terminal = true;
  message.rows = 31;
  message.columns = 97;
  exec(1, message);
  std::string seen;
  while (seen.find("ready") == std::string::npos) {
    const auto frame = receive(AgentFrame::kStdout);
    ASSERT_TRUE(frame);
    seen += frame->payload;
  }
  EXPECT_EQ(seen, "31 97\r\nready\r\n");
  send_message(AgentFrame::kResize, 1, wire::ResizeMessage{40, 120});
  EXPECT_EQ(finish(1).out, "40 120\r\n");
}

TEST_F(AgentExecTest, EndOfInputOnATerminalIsItsCharacter) {
  wire::ExecMessage message;
  message.argv = {"cat"};
  message.terminal = true;
  exec(1, message);
  send(AgentFrame::kStdin, 1, "line\n");
  send(AgentFrame::kStdinEnd, 1);
  const auto result = finish(1);
  EXPECT_EQ(result.out, "line\r\nline\r\n");  // the echo and cat's own
  EXPECT_EQ(result.exited.value().code, 0);
}

TEST_F(AgentExecTest, ChannelIsDescriptorThree) {
  auto message = shell("echo $SPORE_CHANNEL_FD; cat <&3 >&3");
  message.channel = true;
  exec(1, message);
  send(AgentFrame::kChannelIn, 1, "ping");
  send(AgentFrame::kChannelInEnd, 1);
  const auto result = finish(1);
  EXPECT_EQ(result.out, "3\n");
  EXPECT_EQ(result.channel, "ping");
}

TEST_F(AgentExecTest, TheChannelsBytesComeBeforeWhatIsPrintedAfterThem) {
  auto message = shell("for i in $(seq 3000); do printf c >&3; printf e >&2; printf o; done");
  message.channel = true;
  exec(1, message);
  std::size_t told = 0;
  std::size_t errors = 0;
  std::size_t printed = 0;
  while (const auto frame = receive()) {
    note(*frame);
    const auto is = [&](AgentFrame type) {
      return frame->type == static_cast<std::uint16_t>(type) ? frame->payload.size() : 0;
    };
    told += is(AgentFrame::kChannelOut);
    errors += is(AgentFrame::kStderr);
    printed += is(AgentFrame::kStdout);
    ASSERT_LE(errors, told);
    ASSERT_LE(printed, told);
    if (is(AgentFrame::kExited) > 0) {
      break;
    }
  }
  EXPECT_EQ(told, 3000U);
}

TEST_F(AgentExecTest, EndOfTheStreamEndsEveryProcess) {
  exec(1, shell("trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM; sleep 1000' & "
                "(sleep 1000 &) ; echo ready; while :; do read x || sleep 1000; done"));
  ASSERT_TRUE(receive(AgentFrame::kStdout));
  expect_clean_end();
}

TEST_F(AgentExecTest, ShutdownEndsEveryProcess) {
  exec(1, shell("trap 'echo bye >" + run_directory_ +
                "/bye; exit 0' TERM; echo ready; "
                "while :; do sleep 0.01; done"));
  ASSERT_TRUE(receive(AgentFrame::kStdout));
  send(AgentFrame::kShutdown, 0);
  int status = 0;
  ASSERT_EQ(::waitpid(agent_, &status, 0), agent_);
  agent_ = -1;
  EXPECT_EQ(WEXITSTATUS(status), 10);
  EXPECT_EQ(::access((run_directory_ + "/bye").c_str(), F_OK), 0) << "SIGTERM came first";
}

}  // namespace
}  // namespace spore::test
