// The processes and the console of a monitor's machine, as its clients see them.
#include "cli/machines/monitor.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "unit/cli/machines/monitor_fixture.h"

namespace spore::cli::machines::test {
namespace {

TEST_F(MonitorTest, ACommandsRequestStreamsAndEndGoThrough) {
  ExecRequest request;
  request.argv = {"a", "b"};
  request.env = {{"N", "v"}};
  request.workdir = "/w";
  request.user = "u";
  request.terminal = true;
  request.rows = 7;
  const auto process = client().exec(request);
  ASSERT_TRUE(process) << process.error().message();
  const auto seen = machine_->requests();
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].argv, request.argv);
  EXPECT_EQ(seen[0].env, request.env);
  EXPECT_EQ(seen[0].workdir, "/w");
  EXPECT_EQ(seen[0].user, "u");
  EXPECT_TRUE(seen[0].terminal);
  EXPECT_EQ(seen[0].rows, 7);
  process_->tell(Output{OutputStream::kStdout, "out"});
  process_->tell(Output{OutputStream::kStderr, "err"});
  process_->end(Exited{3, 0, true});
  auto event = (*process)->next_event(kBound);
  EXPECT_EQ(std::get<Output>(*event).data, "out");
  event = (*process)->next_event(kBound);
  EXPECT_EQ(std::get<Output>(*event).stream, OutputStream::kStderr);
  for (int again = 0; again < 2; ++again) {
    event = (*process)->next_event(kBound);
    EXPECT_EQ(std::get<Exited>(*event).code, 3);
    EXPECT_TRUE(std::get<Exited>(*event).out_of_memory);
  }
  EXPECT_FALSE((*process)->write_stdin("late"));
}

TEST_F(MonitorTest, MuchInputGoesThereAndBack) {
  process_->echo = true;
  process_->exit_at_end_of_input = true;
  const auto process = exec();
  const std::string sent(5 * kInputWindow + 17, 'i');
  std::thread writer([&] {
    EXPECT_TRUE(process->write_stdin(sent));
    EXPECT_TRUE(process->close_stdin());
  });
  Exited exited{1, 1, false};
  EXPECT_EQ(output_until_end(*process, exited), sent);
  writer.join();
  EXPECT_EQ(exited.status(), 0);
}

TEST_F(MonitorTest, SignalsPassInputThatNobodyReads) {
  process_->stop_reading(true);
  const auto process = exec();
  std::thread writer(
      [&] { static_cast<void>(process->write_stdin(std::string(4 * kInputWindow, 'i'))); });
  EXPECT_TRUE(process->resize(3, 4));
  EXPECT_TRUE(process->signal(15));
  EXPECT_TRUE(process_->wait_until([](const ScriptedProcess& seen) {
    return seen.signals_ == std::vector<int>{15} &&
           seen.sizes_ == std::vector<std::pair<int, int>>{{3, 4}};
  }));
  process_->end(Exited{0, 15, false});
  Exited exited;
  output_until_end(*process, exited);
  EXPECT_EQ(exited.signal, 15);
  writer.join();
}

TEST_F(MonitorTest, AClientThatGoesTakesItsProcessWithIt) {
  auto process = exec();
  process.reset();
  EXPECT_TRUE(process_->wait_until(
      [](const ScriptedProcess& seen) { return seen.signals_ == std::vector<int>{9}; }));
}

TEST_F(MonitorTest, AClientThatReadsNothingCanGo) {
  auto process = exec();
  for (int i = 0; i < 100; ++i) {
    process_->tell(Output{OutputStream::kStdout, std::string(kMaxPart, 'o')});
  }
  process.reset();
  EXPECT_TRUE(process_->wait_until(
      [](const ScriptedProcess& seen) { return seen.signals_ == std::vector<int>{9}; }));
}

TEST_F(MonitorTest, AFixturePointIsReleased) {
  const auto process = exec();
  process_->tell(AtFixturePoint{});
  EXPECT_TRUE(
      process_->wait_until([](const ScriptedProcess& seen) { return seen.released_ == 1; }));
}

TEST_F(MonitorTest, ACommandThatCannotBeStartedIsTold) {
  machine_->on_exec = [](const ExecRequest&) -> Result<std::shared_ptr<ScriptedProcess>> {
    return fail(ErrorCode::kNotFound, "starting x: no such program");
  };
  const auto process = client().exec({.argv = {"x"}});
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(process.error().message(), "starting x: no such program");
  EXPECT_FALSE(client().exec({.argv = {std::string(2 * wire::kMaxPayload, 'x')}}));
}

TEST_F(MonitorTest, TheMachinesEndIsHeardByAll) {
  const auto process = exec();
  machine_->say("boot\n");
  std::string console;
  bool first = true;
  std::thread follower([&, connected = std::make_shared<MonitorClient>(client())] {
    EXPECT_TRUE(connected->logs(true, [&](std::string_view text) {
      console += text;
      if (std::exchange(first, false)) {
        machine_->say("last words\n");
        machine_->end({EndReason::kPanicked, "why", "tail"});
      }
      return true;
    }));
  });
  const auto event = process->next_event(kBound);
  ASSERT_TRUE(event && std::holds_alternative<Lost>(*event));
  EXPECT_EQ(std::get<Lost>(*event).end.reason, EndReason::kPanicked);
  wait();
  EXPECT_EQ(*outcome_, Monitor::Outcome::kMachineEnded);
  monitor_->finish_clients();
  follower.join();
  EXPECT_EQ(console, "boot\nlast words\n");
}

TEST_F(MonitorTest, LogsSoFarEndByThemselves) {
  machine_->say(std::string(3 * kMaxPart, 'c'));
  std::string console;
  EXPECT_TRUE(client().logs(false, [&console](std::string_view text) {
    console += text;
    return true;
  }));
  EXPECT_EQ(console.size(), 3 * kMaxPart);
}

TEST_F(MonitorTest, StoppingItLosesItsClientsProcesses) {
  const auto process = exec();
  stop();
  EXPECT_EQ(*outcome_, Monitor::Outcome::kStopped);
  monitor_.reset();
  const auto event = process->next_event(kBound);
  ASSERT_TRUE(event && std::holds_alternative<Lost>(*event));
}

}  // namespace
}  // namespace spore::cli::machines::test
