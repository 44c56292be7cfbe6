// What every Session must do, over a Host in this process and over the same Host behind a stream.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <string>
#include <thread>

#include "session/host.h"
#include "support/fake_host.h"
#include "support/remote_pair.h"

namespace spore {
namespace {

using testing::FakeHost;
using ::testing::HasSubstr;
using testing::ScriptedAgent;

// Lends a FakeHost to a session, which wants to own its Host.
class Lent final : public session::Host {
 public:
  explicit Lent(FakeHost& host) : host_(host) {}
  Result<Booted> boot(const MachineConfig& config,
                      std::shared_ptr<session::MachineObserver> observer) override {
    return host_.boot(config, std::move(observer));
  }
  Result<void> send_to_agent(session::MachineId machine, std::string_view bytes) override {
    return host_.send_to_agent(machine, bytes);
  }
  Result<session::SporeId> take_spore(session::MachineId machine, bool keep_running) override {
    return host_.take_spore(machine, keep_running);
  }
  Result<std::vector<session::ForkedMachine>> fork(
      session::SporeId spore, std::vector<session::ForkOrder> orders) override {
    return host_.fork(spore, std::move(orders));
  }
  Result<SavedSpore> save(session::SporeId spore, const session::SaveOrder& order) override {
    return host_.save(spore, order);
  }
  Result<session::LoadedHere> load(const std::string& path, const LoadOptions& options) override {
    return host_.load(path, options);
  }
  Result<MachineStats> stats(session::MachineId machine) override { return host_.stats(machine); }
  std::string console_tail(session::MachineId machine) override {
    return host_.console_tail(machine);
  }
  void close(session::MachineId machine) override { host_.close(machine); }
  void release(session::SporeId spore) override { host_.release(spore); }

 private:
  FakeHost& host_;
};

class SessionTest : public ::testing::TestWithParam<bool> {
 protected:
  SessionTest() {
    if (GetParam()) {
      auto [client, server] = testing::make_socket_pair();
      server_ = std::make_unique<testing::Server>(host_, std::move(server));
      auto transport = session::FdTransport::create(std::move(client));
      auto remote = session::connect_remote_host(std::move(*transport));
      session_ = session::make_session(std::move(*remote), "nest");
    } else {
      session_ = session::make_session(std::make_unique<Lent>(host_), "kvm");
    }
  }
  // Nothing may be left on the host, whatever a test did.
  ~SessionTest() override {
    session_.reset();
    server_.reset();
    EXPECT_EQ(host_.machine_count(), 0U);
    EXPECT_EQ(host_.spore_count(), 0U);
  }

  std::unique_ptr<Machine> boot(const std::string& mode = "well") {
    auto machine = session_->boot({.hostname = mode});
    EXPECT_TRUE(machine.has_value()) << machine.error().message();
    return std::move(*machine);
  }

  FakeHost host_;
  std::unique_ptr<testing::Server> server_;
  std::unique_ptr<Session> session_;
};

INSTANTIATE_TEST_SUITE_P(Hosts, SessionTest, ::testing::Values(false, true),
                         [](const auto& info) { return info.param ? "Remote" : "Direct"; });

TEST_P(SessionTest, AMachineThatIsLostAsItStartsIsAnError) {
  host_.lose_next(1);
  const auto never = session_->boot({});
  ASSERT_FALSE(never);
  EXPECT_THAT(never.error().message(), HasSubstr("reset itself"));
  const auto machine = boot();
  auto spore = machine->capture({.keep_running = true});
  ASSERT_TRUE(spore);
  host_.lose_next(1);
  const auto children = (*spore)->fork(2);
  ASSERT_FALSE(children);
  EXPECT_THAT(children.error().message(), HasSubstr("forking a machine: child "));
  EXPECT_EQ(host_.machine_count(), 1U);
}

struct Told {
  std::string out, err, channel;
  int fixture_points = 0;
  std::optional<Exited> exited;
  std::optional<Lost> lost;
};

Told follow(Process& process) {
  Told told;
  while (const auto event = process.next_event(std::nullopt)) {
    if (const auto* output = std::get_if<Output>(&*event)) {
      auto& text = output->stream == OutputStream::kStdout   ? told.out
                   : output->stream == OutputStream::kStderr ? told.err
                                                             : told.channel;
      text += output->data;
    } else if (std::holds_alternative<AtFixturePoint>(*event)) {
      ++told.fixture_points;
    } else if (const auto* exited = std::get_if<Exited>(&*event)) {
      told.exited = *exited;
      return told;
    } else {
      told.lost = std::get<Lost>(*event);
      return told;
    }
  }
  return told;
}

std::shared_ptr<Process> start(Machine& machine, std::vector<std::string> argv) {
  auto process = machine.exec({.argv = std::move(argv)});
  EXPECT_TRUE(process.has_value()) << process.error().message();
  return *process;
}

TEST_P(SessionTest, StreamsAndStatusOfAProcess) {
  const auto machine = boot();
  EXPECT_EQ(machine->generation().id, "boot");
  const auto echo = start(*machine, {"echo", "one", "two"});
  const Told told = follow(*echo);
  EXPECT_EQ(told.out, "one\ntwo\n");
  EXPECT_EQ(told.exited->status(), 0);
  // The last event is given again.
  EXPECT_TRUE(std::holds_alternative<Exited>(*echo->next_event(Milliseconds{0})));

  EXPECT_EQ(follow(*start(*machine, {"warn", "careful"})).err, "careful");
  EXPECT_EQ(follow(*start(*machine, {"status", "9"})).exited->status(), 9);
  EXPECT_EQ(follow(*start(*machine, {"die", "11"})).exited->status(), 139);
  EXPECT_EQ(machine->stats()->exits, 3U);
  EXPECT_THAT(machine->console_tail(), HasSubstr("Linux version scripted"));
}

TEST_P(SessionTest, AMissingProgramIsNamed) {
  const auto machine = boot();
  const auto process = machine->exec({.argv = {"psql"}, .workdir = "/srv", .user = "web"});
  ASSERT_FALSE(process.has_value());
  EXPECT_EQ(process.error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(process.error().message(),
            "starting psql in the guest (in /srv, as web): there is no such program in PATH");
  EXPECT_EQ(machine->exec({}).error().code(), ErrorCode::kInvalidArgument);
}

TEST_P(SessionTest, ArgumentsThatCannotBeSentAreRefused) {
  const auto machine = boot();
  const auto process = machine->exec({.argv = {"echo", std::string(2 * kMiB, 'a')}});
  ASSERT_FALSE(process.has_value());
  EXPECT_EQ(process.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(follow(*start(*machine, {"echo", "x"})).out, "x\n");
}

TEST_P(SessionTest, VolumesGoBothWaysThroughTheWindows) {
  const auto machine = boot();
  const auto cat = start(*machine, {"cat"});
  std::string text(3 * kMiB, '\0');
  std::iota(text.begin(), text.end(), '\0');
  std::thread writer([&] {
    EXPECT_TRUE(cat->write_channel("aside").has_value());
    EXPECT_TRUE(cat->write_stdin(text).has_value());
    EXPECT_TRUE(cat->close_stdin().has_value());
  });
  const Told told = follow(*cat);
  writer.join();
  EXPECT_TRUE(told.out == text);
  EXPECT_EQ(told.channel, "aside");
  EXPECT_EQ(cat->write_stdin("late").error().code(), ErrorCode::kMachineEnded);
}

TEST_P(SessionTest, ASlowConsumerStopsTheGuestAtItsWindow) {
  const auto machine = boot();
  const auto flood = start(*machine, {"flood", std::to_string(5 * kMiB)});
  // Whatever else the machine does, the flood stands still until it is read.
  EXPECT_EQ(follow(*start(*machine, {"echo", "meanwhile"})).out, "meanwhile\n");
  std::uint64_t largest = 0;
  host_.with_agents([&](ScriptedAgent& agent) { largest = agent.largest_unacknowledged(); });
  EXPECT_EQ(largest, wire::kStreamWindow);
  EXPECT_EQ(follow(*flood).out.size(), 5 * kMiB);
}

TEST_P(SessionTest, WaitingForAnEventIsBounded) {
  const auto machine = boot();
  const auto sleepy = start(*machine, {"sleepy"});
  EXPECT_FALSE(sleepy->next_event(Milliseconds{1}).has_value());
  EXPECT_TRUE(sleepy->signal(15).has_value());
  EXPECT_EQ(follow(*sleepy).exited->signal, 15);
  EXPECT_EQ(sleepy->signal(15).error().code(), ErrorCode::kMachineEnded);
}

TEST_P(SessionTest, ClosingAMachineWakesWhoWaits) {
  const auto machine = boot();
  const auto sleepy = start(*machine, {"sleepy"});
  std::thread reader([&] {
    const Told told = follow(*sleepy);
    ASSERT_TRUE(told.lost.has_value());
    EXPECT_EQ(told.lost->end.reason, EndReason::kClosed);
  });
  std::thread writer([&] {  // it never reads its input
    EXPECT_EQ(sleepy->write_stdin(std::string(kMiB, 'x')).error().code(), ErrorCode::kMachineEnded);
  });
  machine->close();
  reader.join();
  writer.join();
  EXPECT_EQ(machine->exec({.argv = {"echo"}}).error().code(), ErrorCode::kMachineEnded);
  EXPECT_EQ(machine->capture({}).error().code(), ErrorCode::kMachineEnded);
  EXPECT_EQ(machine->ended()->reason, EndReason::kClosed);
}

TEST_P(SessionTest, AnEndedGuestIsReportedAsSuch) {
  const auto machine = boot();
  const auto sleepy = start(*machine, {"sleepy"});
  start(*machine, {"panic"});
  const Told told = follow(*sleepy);
  ASSERT_TRUE(told.lost.has_value());
  EXPECT_EQ(told.lost->end.reason, EndReason::kPanicked);
  EXPECT_EQ(told.lost->end.detail, "Kernel panic - not syncing: scripted");
  EXPECT_THAT(told.lost->end.console_tail, HasSubstr("Linux version scripted"));
  const auto second = boot();
  EXPECT_EQ(follow(*start(*second, {"poweroff"})).lost->end.reason, EndReason::kPoweredOff);
}

TEST_P(SessionTest, ABootThatFailsSaysWhy) {
  const auto no_kernel = session_->boot({.kernel = "none"});
  EXPECT_EQ(no_kernel.error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(no_kernel.error().message(), "booting a machine: there is no kernel none");

  const auto panic = session_->boot({.hostname = "panic"});
  EXPECT_EQ(panic.error().code(), ErrorCode::kMachineEnded);
  EXPECT_THAT(panic.error().message(), HasSubstr("the guest kernel panicked"));
  EXPECT_THAT(panic.error().message(), HasSubstr("Linux version scripted"));
  EXPECT_THAT(panic.error().message(), ::testing::Not(HasSubstr("too small")));

  const auto starved = session_->boot({.hostname = "oom"});
  EXPECT_THAT(starved.error().message(), HasSubstr("512 MiB of memory may be too small"));

  const auto silent = session_->boot({.hostname = "silent"}, Milliseconds{5});
  EXPECT_EQ(silent.error().code(), ErrorCode::kTimedOut);
  EXPECT_THAT(silent.error().message(), HasSubstr("did not answer"));

  const auto old = session_->boot({.hostname = "old-agent"});
  EXPECT_THAT(old.error().message(), HasSubstr("the agent speaks version 77"));
}

TEST_P(SessionTest, AGuestThatBreaksTheProtocolLosesItsMachine) {
  for (const std::string how :
       {"overflow", "garbage", "stranger", "overcredit", "twice", "chatter", "ring"}) {
    const auto machine = boot();
    const auto witness = start(*machine, {"sleepy"});
    const auto culprit = machine->exec({.argv = {how}});
    const Told told = follow(*witness);
    ASSERT_TRUE(told.lost.has_value()) << how;
    EXPECT_EQ(told.lost->end.reason, EndReason::kEngineFailed) << how;
    EXPECT_THAT(told.lost->end.detail,
                ::testing::AnyOf(HasSubstr("broke its protocol"), HasSubstr("unasked")));
    EXPECT_EQ(machine->exec({.argv = {"echo"}}).error().code(), ErrorCode::kMachineEnded);
  }
}

TEST_P(SessionTest, ChildrenGoOnFromTheCapture) {
  const auto machine = boot();
  const auto fixture = start(*machine, {"fixture"});
  EXPECT_TRUE(std::holds_alternative<AtFixturePoint>(*fixture->next_event(std::nullopt)));
  const auto spore = machine->capture({});
  ASSERT_TRUE(spore.has_value()) << spore.error().message();
  EXPECT_EQ((*spore)->timings().pause_us, 7U);
  EXPECT_EQ((*spore)->generation().id, "boot");
  const Told parent = follow(*fixture);
  ASSERT_TRUE(parent.lost.has_value());
  EXPECT_EQ(parent.lost->end.detail, "it was captured, to be forked");

  const auto children = (*spore)->fork(5);
  ASSERT_TRUE(children.has_value()) << children.error().message();
  ASSERT_EQ(children->size(), 5U);
  for (std::uint32_t i = 0; i < 5; ++i) {
    Machine& child = *(*children)[i];
    EXPECT_EQ(child.generation().number, 1U);
    EXPECT_EQ(child.generation().parent_id, "boot");
    const ForkParameters& parameters = child.generation().parameters;
    EXPECT_EQ(parameters.child_index, i);
    EXPECT_EQ(parameters.shard_index, i);
    EXPECT_EQ(parameters.shard_count, 5U);
    EXPECT_EQ(parameters.hostname, "spore-" + std::to_string(i));
    EXPECT_EQ(child.fork_timings().build_us, 3U);
    const auto inherited = child.process(fixture->id());
    ASSERT_NE(inherited, nullptr);
    EXPECT_EQ(follow(*inherited).out, "child");
    EXPECT_EQ(follow(*start(child, {"echo", "new"})).out, "new\n");
  }
}

TEST_P(SessionTest, ASavedSporeGoesOnWithItsProcesses) {
  const auto machine = boot();
  const auto fixture = start(*machine, {"fixture"});
  EXPECT_TRUE(std::holds_alternative<AtFixturePoint>(*fixture->next_event(std::nullopt)));
  const auto spore = machine->capture({});
  ASSERT_TRUE(spore.has_value()) << spore.error().message();
  EXPECT_FALSE((*spore)->loaded().has_value());
  const auto saved = (*spore)->save("/warm", {.annotations = {{"why", "tests"}}});
  ASSERT_TRUE(saved.has_value()) << saved.error().message();
  EXPECT_EQ(saved->path, "/warm");
  EXPECT_EQ(saved->chunks, 7U);
  EXPECT_FALSE((*spore)->save("/warm", {}).has_value());

  EXPECT_FALSE(session_->load("/cold").has_value());
  const auto loaded = session_->load("/warm", {.flat = false});
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
  EXPECT_EQ((*loaded)->loaded()->annotations.at("why"), "tests");
  EXPECT_EQ((*loaded)->loaded()->backing, "lazy");
  EXPECT_EQ((*loaded)->generation().id, "boot");
  EXPECT_EQ((*loaded)->processes(), std::vector<std::uint32_t>{fixture->id()});
  const auto children = (*loaded)->fork(1);
  ASSERT_TRUE(children.has_value()) << children.error().message();
  EXPECT_NE(children->front()->process(fixture->id()), nullptr);
}

TEST_P(SessionTest, AResetMachineIsAnotherGenerationAndTheOldOneSaysSo) {
  const auto spore = boot()->capture({});
  ASSERT_TRUE(spore) << spore.error().message();
  auto children = (*spore)->fork(1);
  ASSERT_TRUE(children) << children.error().message();
  std::unique_ptr<Machine> child = std::move(children->front());
  for (std::uint32_t round = 0; round < 3; ++round) {
    const auto waiting = start(*child, {"cat"});
    ForkParameters parameters;
    parameters.child_index = round;
    parameters.child_count = 9;
    auto next = (*spore)->reset(*child, parameters);
    ASSERT_TRUE(next) << next.error().message();
    const Told told = follow(*waiting);
    ASSERT_TRUE(told.lost.has_value());
    EXPECT_EQ(told.lost->end.reason, EndReason::kPutBack);
    EXPECT_EQ(child->ended()->reason, EndReason::kPutBack);
    EXPECT_THAT(child->exec({.argv = {"echo"}}).error().message(),
                HasSubstr("was put back to a spore"));
    child = std::move(*next);
    EXPECT_TRUE(child->fork_timings().reset);
    EXPECT_EQ(child->generation().number, 1U);
    EXPECT_EQ(child->generation().parameters.child_index, round);
    EXPECT_EQ(follow(*start(*child, {"echo", "new"})).out, "new\n");
    EXPECT_EQ(host_.machine_count(), 1U);
  }
}

TEST_P(SessionTest, AMachineThatHasEndedIsResetToo) {
  const auto machine = boot();
  const auto spore = machine->capture({.keep_running = true});
  ASSERT_TRUE(spore) << spore.error().message();
  follow(*start(*machine, {"poweroff"}));
  auto next = (*spore)->reset(*machine, {});
  ASSERT_TRUE(next) << next.error().message();
  EXPECT_EQ(follow(*start(**next, {"echo", "new"})).out, "new\n");
}

TEST_P(SessionTest, AResetThatMakesNoSenseLeavesTheMachineAlone) {
  const auto machine = boot();
  const auto spore = machine->capture({.keep_running = true});
  ASSERT_TRUE(spore) << spore.error().message();
  ForkParameters parameters;
  parameters.child_index = 3;
  EXPECT_EQ((*spore)->reset(*machine, parameters).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(follow(*start(*machine, {"echo", "on"})).out, "on\n");
}

TEST_P(SessionTest, AParentMayGoOn) {
  const auto machine = boot();
  const auto fixture = start(*machine, {"fixture"});
  const auto spore = machine->capture({.keep_running = true});
  ASSERT_TRUE(spore.has_value()) << spore.error().message();
  EXPECT_TRUE(fixture->release_fixture_point().has_value());
  const Told told = follow(*fixture);
  EXPECT_EQ(told.fixture_points, 1);
  EXPECT_EQ(told.out, "alone");
  // And be captured again, and its child too.
  const auto again = machine->capture({});
  ASSERT_TRUE(again.has_value());
  const auto child = (*again)->fork(1);
  const auto grandchild = (*(*child)[0]->capture({}))->fork(1);
  EXPECT_EQ((*grandchild)[0]->generation().number, 2U);
  EXPECT_EQ(follow(*start(*(*grandchild)[0], {"echo", "deep"})).out, "deep\n");
}

TEST_P(SessionTest, AForkClonesWindowsAndUnreadOutput) {
  const auto machine = boot();
  const auto flood = start(*machine, {"flood", std::to_string(kMiB)});
  // Some of the window is taken but not acknowledged yet, the rest unread.
  const auto first = flood->next_event(std::nullopt);
  const std::size_t taken = std::get<Output>(*first).data.size();
  const auto spore = machine->capture({});
  ASSERT_TRUE(spore.has_value());
  const auto children = (*spore)->fork(3);
  ASSERT_TRUE(children.has_value());
  for (const auto& child : *children) {
    const Told told = follow(*child->process(flood->id()));
    EXPECT_EQ(told.out.size(), kMiB - taken);
    EXPECT_EQ(told.exited->code, 0);
  }
}

TEST_P(SessionTest, ACaptureThatFailsLeavesTheMachineRunning) {
  const auto machine = boot();
  host_.with_agents([](ScriptedAgent& agent) { agent.refuses_capture = true; });
  const auto refused = machine->capture({});
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().message(), HasSubstr("process 7 would not freeze"));
  EXPECT_EQ(follow(*start(*machine, {"echo", "on"})).out, "on\n");

  host_.with_agents([](ScriptedAgent& agent) {
    agent.refuses_capture = false;
    agent.ignores_capture = true;
  });
  const auto late = machine->capture({.timeout = Milliseconds{5}});
  ASSERT_FALSE(late.has_value());
  EXPECT_EQ(late.error().code(), ErrorCode::kTimedOut);
  EXPECT_EQ(follow(*start(*machine, {"echo", "still"})).out, "still\n");

  host_.with_agents([](ScriptedAgent& agent) { agent.ignores_capture = false; });
  EXPECT_TRUE(machine->capture({}).has_value());
}

TEST_P(SessionTest, NonsensicalForksAreRefused) {
  const auto spore = boot()->capture({});
  ASSERT_TRUE(spore.has_value());
  EXPECT_EQ((*spore)->fork(0).error().code(), ErrorCode::kInvalidArgument);
  ForkParameters beyond{.child_index = 3, .child_count = 3};
  EXPECT_EQ((*spore)->fork({beyond}).error().code(), ErrorCode::kInvalidArgument);
  ForkParameters fat;
  fat.user["key"] = std::string(4096, 'x');
  EXPECT_EQ((*spore)->fork({fat}).error().code(), ErrorCode::kInvalidArgument);
}

TEST_P(SessionTest, ObjectsOutliveTheirSession) {
  auto machine = boot();
  const auto sleepy = start(*machine, {"sleepy"});
  auto spore = boot()->capture({});
  session_.reset();
  EXPECT_TRUE(follow(*sleepy).lost.has_value());
  EXPECT_EQ(machine->exec({.argv = {"echo"}}).error().code(), ErrorCode::kMachineEnded);
  EXPECT_FALSE((*spore)->fork(1).has_value());
  machine.reset();
  EXPECT_EQ(sleepy->write_stdin("x").error().code(), ErrorCode::kMachineEnded);
}

TEST_P(SessionTest, ManyThreadsShareASession) {
  const auto machine = boot();
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const std::string word = std::to_string(t * 100 + i);
        EXPECT_EQ(follow(*start(*machine, {"echo", word})).out, word + "\n");
      }
      const auto own = boot();
      EXPECT_EQ(follow(*start(*own, {"status", "3"})).exited->code, 3);
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
}

}  // namespace
}  // namespace spore
