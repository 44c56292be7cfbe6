// A monitor and its clients over a real socket, with a machine that the tests play.
#include "cli/machines/monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <random>
#include <string>
#include <thread>

#include "cli/machines/console_relay.h"
#include "cli/machines/local_socket.h"
#include "cli/machines/monitor_client.h"
#include "fuzz/targets.h"
#include "support/remote_pair.h"
#include "support/scripted_machine.h"
#include "support/temporary_directory.h"

namespace spore::cli::machines {
namespace {

using testing::ScriptedMachine;
using testing::ScriptedProcess;
using testing::TemporaryDirectory;

using ::testing::HasSubstr;

constexpr Milliseconds kBound{20'000};

std::string exec_payload(bool channel) {
  wire::ExecMessage message;
  message.argv = {"x"};
  message.channel = channel;
  return wire::to_cbor(message);
}

class MonitorTest : public ::testing::Test {
 protected:
  MonitorTest() {
    auto machine = std::make_unique<ScriptedMachine>();
    machine_ = machine.get();
    machine_->on_exec = [this](const ExecRequest&) { return process_; };
    auto listener = listen_at(directory_.path(), "socket");
    monitor_ = std::make_unique<Monitor>(std::move(machine), std::move(*listener));
    thread_ = std::thread([this] { outcome_ = monitor_->run(stop_.get()); });
  }
  ~MonitorTest() override { stop(); }

  void stop() {
    eventfd_write(stop_.get(), 1);
    wait();
  }
  void wait() {
    if (thread_.joinable()) {
      thread_.join();
    }
  }

  base::UniqueFd socket() { return std::move(*connect_to(directory_.path(), "socket")); }
  MonitorClient client() { return std::move(*MonitorClient::greet(socket(), "web")); }
  std::shared_ptr<ClientProcess> exec() { return *client().exec({.argv = {"cat"}}); }

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

  TemporaryDirectory directory_;
  std::shared_ptr<ScriptedProcess> process_ = std::make_shared<ScriptedProcess>();
  ScriptedMachine* machine_ = nullptr;
  std::unique_ptr<Monitor> monitor_;
  base::UniqueFd stop_{eventfd(0, EFD_CLOEXEC)};
  Result<Monitor::Outcome> outcome_ = Monitor::Outcome::kStopped;
  std::thread thread_;
};

SavedSpore saved_at(const std::string& path) {
  SavedSpore saved;
  saved.path = path;
  return saved;
}

// What a scripted machine's capture gives.
class ScriptedSpore final : public Spore {
 public:
  explicit ScriptedSpore(Result<SavedSpore> saved) : saved_(std::move(saved)) {}

  Result<std::vector<std::unique_ptr<Machine>>> fork(
      const std::vector<ForkParameters>& children) override {
    std::vector<std::unique_ptr<Machine>> machines(children.size());
    std::ranges::generate(machines, [] { return std::make_unique<ScriptedMachine>(); });
    return machines;
  }
  Result<std::unique_ptr<Machine>> reset(Machine& /*used*/, const ForkParameters&) override {
    return fail(ErrorCode::kUnavailable, "");
  }
  Result<SavedSpore> save(const std::string& /*path*/, const SaveOptions& /*options*/) override {
    return saved_;
  }
  [[nodiscard]] const Generation& generation() const noexcept override { return generation_; }
  [[nodiscard]] const CaptureTimings& timings() const noexcept override { return timings_; }
  [[nodiscard]] const std::optional<LoadedSpore>& loaded() const noexcept override {
    return loaded_;
  }
  [[nodiscard]] std::vector<std::uint32_t> processes() const override { return {}; }

 private:
  const Result<SavedSpore> saved_;
  Generation generation_;
  CaptureTimings timings_;
  std::optional<LoadedSpore> loaded_;
};

std::string output_until_end(Process& process, Exited& exited) {
  std::string text;
  while (const auto event = process.next_event(kBound)) {
    if (const auto* output = std::get_if<Output>(&*event)) {
      text += output->data;
    } else if (const auto* end = std::get_if<Exited>(&*event)) {
      exited = *end;
      break;
    } else {
      break;
    }
  }
  return text;
}

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

TEST_F(MonitorTest, ACapturedMachineGoesOn) {
  machine_->on_capture = [](const CaptureOptions& options) -> Result<std::shared_ptr<Spore>> {
    EXPECT_TRUE(options.keep_running);
    return std::make_shared<ScriptedSpore>(saved_at("/saved"));
  };
  const auto saved = client().capture({.path = "/saved", .after = AfterCapture::kGoesOn});
  ASSERT_TRUE(saved) << saved.error().message();
  EXPECT_EQ(saved->path, "/saved");
  EXPECT_TRUE(client().exec({.argv = {"cat"}}));
  EXPECT_EQ(monitor_->suspended_to(), "");
}

TEST_F(MonitorTest, AMachineThatIsSuspendedEndsItsMonitor) {
  machine_->on_capture = [this](const CaptureOptions& options) -> Result<std::shared_ptr<Spore>> {
    EXPECT_FALSE(options.keep_running);
    machine_->close();
    return std::make_shared<ScriptedSpore>(saved_at("/saved"));
  };
  ASSERT_TRUE(client().capture({.path = "/saved", .after = AfterCapture::kIsSuspended}));
  wait();
  ASSERT_TRUE(outcome_);
  EXPECT_EQ(*outcome_, Monitor::Outcome::kMachineEnded);
  EXPECT_EQ(monitor_->suspended_to(), "/saved");
}

TEST_F(MonitorTest, AMachineThatCannotBeSavedGoesOn) {
  machine_->on_capture = [this](const CaptureOptions&) -> Result<std::shared_ptr<Spore>> {
    machine_->close();
    return std::make_shared<ScriptedSpore>(fail(ErrorCode::kResourceExhausted, "no room"));
  };
  const auto saved = client().capture({.path = "/saved", .after = AfterCapture::kIsSuspended});
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(monitor_->suspended_to(), "");
  EXPECT_TRUE(client().exec({.argv = {"cat"}})) << "a fork of it took its place";
  EXPECT_TRUE(machine_->requests().empty());
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

TEST_F(MonitorTest, AnotherBuildIsRefusedWithAdvice) {
  const std::string other =
      wire::to_cbor(wire::HostHelloMessage{kMonitorProtocolVersion, "0.0.0-other"});
  const std::string answer = answer_to({{MonitorFrame::kHello, other}});
  EXPECT_THAT(answer, HasSubstr("another build of spore (0.0.0-other"));
  EXPECT_THAT(answer, HasSubstr("spore rm -f"));
}

TEST_F(MonitorTest, FramesThatMakeNoSenseEndTheirConnection) {
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

TEST_F(MonitorTest, BytesThatAreNoFramesEndTheirConnection) {
  const base::UniqueFd fd = socket();
  const std::string bytes(64, '\xff');
  ASSERT_EQ(write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  std::array<char, 4096> buffer;
  ssize_t got = 0;
  while ((got = read(fd.get(), buffer.data(), buffer.size())) > 0) {
  }
  EXPECT_TRUE(got == 0 || errno == ECONNRESET);
}

TEST_F(MonitorTest, MoreClientsThanItTakesAreTurnedAway) {
  std::vector<MonitorClient> clients;
  for (int i = 0; i < 64; ++i) {
    clients.push_back(client());
  }
  const auto turned_away = MonitorClient::greet(socket(), "web");
  ASSERT_FALSE(turned_away);
  EXPECT_EQ(turned_away.error().code(), ErrorCode::kResourceExhausted);
}

// ---- the client's side
// ------------------------------------------------------------------------------

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

TEST(LocalSocket, MayHaveALongPath) {
  const TemporaryDirectory directory;
  std::string deep = directory.path();
  for (int i = 0; i < 4; ++i) {
    deep += "/" + std::string(60, 'd');
    std::filesystem::create_directory(deep);
  }
  ASSERT_GT(deep.size(), 200U);
  const auto listener = listen_at(deep, "socket");
  ASSERT_TRUE(listener) << listener.error().message();
  EXPECT_TRUE(connect_to(deep, "socket"));
  EXPECT_FALSE(listen_at(deep, "socket")) << "it is there already";
  EXPECT_EQ(connect_to(deep, "other").error().code(), ErrorCode::kNotFound);
}

TEST(ConsoleNews, IsWhatCameSince) {
  EXPECT_EQ(console_news("", ""), "");
  EXPECT_EQ(console_news("", "ab"), "ab");
  EXPECT_EQ(console_news("ab", "ab"), "");
  EXPECT_EQ(console_news("ab", "abcd"), "cd");
  EXPECT_EQ(console_news("abcd", "cdef"), "ef") << "its beginning was forgotten";
  EXPECT_EQ(console_news("abcd", "xyz"), "xyz");
  EXPECT_EQ(console_news("abcd", ""), "");
  EXPECT_EQ(console_news("aaab", "abaab"), "aab");
  EXPECT_EQ(console_news("xabab", "ababc"), "c");
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
}  // namespace spore::cli::machines
