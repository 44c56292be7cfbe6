// The connection to an engine, broken in every way and at every byte.
#include "session/remote_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "session/serve.h"
#include "support/fake_host.h"
#include "support/remote_pair.h"

namespace spore::session {
namespace {

using testing::FakeHost;
using ::testing::HasSubstr;

// Passes `limit` bytes to its reader and breaks then.
class Breaking final : public Transport {
 public:
  Breaking(std::unique_ptr<Transport> inner, std::size_t limit)
      : inner_(std::move(inner)), left_(limit) {}
  Result<std::size_t> read(std::span<char> buffer) override {
    if (left_ == 0) {
      return fail(ErrorCode::kInternal, "the cable was cut");
    }
    auto size = inner_->read(buffer.first(std::min(buffer.size(), left_)));
    if (size) {
      left_ -= *size;
      total_ += *size;
    }
    return size;
  }
  Result<void> write(std::string_view bytes) override { return inner_->write(bytes); }
  void close() override { inner_->close(); }
  static inline std::atomic<std::size_t> total_ = 0;

 private:
  const std::unique_ptr<Transport> inner_;
  std::size_t left_;
};

// One small job with every kind of request in it. True when all of it worked.
bool run_job(std::unique_ptr<Transport> transport) {
  auto host = connect_remote_host(std::move(transport));
  if (!host) {
    return false;
  }
  const auto session = make_session(std::move(*host), "nest");
  const auto machine = session->boot({});
  if (!machine) {
    return false;
  }
  const auto echo = (*machine)->exec({.argv = {"echo", "hello"}});
  const auto waiting = (*machine)->exec({.argv = {"sleepy"}});
  static_cast<void>((*machine)->stats());
  static_cast<void>((*machine)->console_tail());
  const auto spore = (*machine)->capture({});
  const auto children = spore ? (*spore)->fork(2) : fail(spore.error());
  bool lost = false;
  if (waiting) {
    const auto event = (*waiting)->next_event(std::nullopt);
    lost = std::holds_alternative<Lost>(*event);
  }
  return echo && waiting && children && lost;
}

TEST(RemoteHost, ABreakAtAnyByteFailsEveryCallAndLeavesNothing) {
  FakeHost host;
  const auto attempt = [&host](std::size_t limit) {
    auto [client, socket] = testing::make_socket_pair();
    testing::Server server(host, std::move(socket));
    auto transport = FdTransport::create(std::move(client));
    Breaking::total_ = 0;
    const bool worked = run_job(std::make_unique<Breaking>(std::move(*transport), limit));
    server.wait();
    EXPECT_EQ(host.machine_count(), 0U);
    EXPECT_EQ(host.spore_count(), 0U);
    return worked;
  };
  EXPECT_TRUE(attempt(SIZE_MAX));
  const std::size_t whole = Breaking::total_;
  ASSERT_GT(whole, 200U);
  EXPECT_FALSE(attempt(0));
  int failed = 0;
  for (std::size_t limit = 1; limit < whole; limit += 3) {
    failed += attempt(limit) ? 0 : 1;
  }
  EXPECT_GT(failed, 100);
}

TEST(RemoteHost, AServerThatDiesEndsItsMachines) {
  FakeHost host;
  auto [client, socket] = testing::make_socket_pair();
  testing::Server server(host, std::move(socket));
  auto remote = connect_remote_host(*FdTransport::create(std::move(client)));
  ASSERT_TRUE(remote.has_value());
  const auto session = make_session(std::move(*remote), "nest");
  const auto machine = session->boot({});
  const auto sleepy = (*machine)->exec({.argv = {"sleepy"}});
  server.cut();
  const auto event = (*sleepy)->next_event(std::nullopt);
  const auto& end = std::get<Lost>(*event).end;
  EXPECT_EQ(end.reason, EndReason::kEngineFailed);
  EXPECT_THAT(end.detail, HasSubstr("the connection to the engine broke"));
  const auto again = session->boot({});
  EXPECT_THAT(again.error().message(), HasSubstr("the connection to the engine broke"));
}

TEST(RemoteHost, TwoConnectionsAreIndependent) {
  FakeHost host;
  auto [client_a, socket_a] = testing::make_socket_pair();
  auto [client_b, socket_b] = testing::make_socket_pair();
  testing::Server server_a(host, std::move(socket_a));
  testing::Server server_b(host, std::move(socket_b));
  auto remote_a = connect_remote_host(*FdTransport::create(std::move(client_a)));
  auto remote_b = connect_remote_host(*FdTransport::create(std::move(client_b)));
  auto session_a = make_session(std::move(*remote_a), "nest");
  auto session_b = make_session(std::move(*remote_b), "nest");
  const auto machine_a = session_a->boot({});
  const auto machine_b = session_b->boot({});
  EXPECT_EQ(host.machine_count(), 2U);
  session_a.reset();
  EXPECT_EQ(host.machine_count(), 1U);
  EXPECT_TRUE((*machine_b)->exec({.argv = {"status", "0"}}).has_value());
  EXPECT_FALSE((*machine_b)->ended().has_value());
}

// What a peer of another build, or another program, says first.
Result<std::unique_ptr<Host>> connect_to(std::string_view first_bytes) {
  auto [client, other] = testing::make_socket_pair();
  EXPECT_EQ(::write(other.get(), first_bytes.data(), first_bytes.size()),
            static_cast<ssize_t>(first_bytes.size()));
  // They are there already; only a hang gets to the bound.
  return connect_remote_host(*FdTransport::create(std::move(client)), Milliseconds{30'000});
}

std::string frame(wire::HostFrame type, std::uint64_t subject, std::string_view payload) {
  std::string bytes;
  wire::encode_frame(static_cast<std::uint16_t>(type), subject, payload, bytes);
  return bytes;
}

TEST(RemoteHost, AnotherBuildIsRefusedWithARemedy) {
  const auto host = connect_to(
      frame(wire::HostFrame::kHello, 0,
            wire::to_cbor(wire::HostHelloMessage{wire::kHostProtocolVersion + 1, "9.9"})));
  ASSERT_FALSE(host.has_value());
  EXPECT_EQ(host.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(host.error().message(), HasSubstr("another build of spore"));
  EXPECT_THAT(host.error().message(), HasSubstr("spore nest stop"));
}

TEST(RemoteHost, WhatIsNoEngineIsRefused) {
  EXPECT_EQ(connect_to("bash: spore: command not found\n").error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(connect_to(frame(wire::HostFrame::kReply, 1, "")).error().code(), ErrorCode::kCorrupt);
}

TEST(Serve, WhatIsNoClientIsRefused) {
  FakeHost host;
  auto [client, socket] = testing::make_socket_pair();
  testing::Server server(host, std::move(socket));
  const std::string bytes = frame(wire::HostFrame::kBoot, 1, "");
  EXPECT_EQ(::write(client.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  EXPECT_EQ(server.wait(), 1);
}

TEST(Serve, TheEndOfTheStreamClosesAllMachines) {
  FakeHost host;
  auto [client, socket] = testing::make_socket_pair();
  testing::Server server(host, std::move(socket));
  {
    class Ignoring final : public MachineObserver {
      void on_agent_bytes(std::string_view /*bytes*/) override {}
      void on_captured(const CaptureTimings& /*timings*/) override {}
      void on_ended(const MachineEnd& /*end*/) override {}
    };
    auto remote = connect_remote_host(*FdTransport::create(std::move(client)));
    EXPECT_TRUE((*remote)->boot({}, std::make_shared<Ignoring>()).has_value());
    EXPECT_EQ(host.machine_count(), 1U);
  }
  EXPECT_EQ(server.wait(), 0);
  EXPECT_EQ(host.machine_count(), 0U);
}

}  // namespace
}  // namespace spore::session
