// The state of a vsock device: its form, what is refused, and what a fork keeps.
#include <string>

#include "support/state_round_trip.h"
#include "vsock_fixture.h"

namespace spore::virtio {
namespace {

TEST_F(VsockTest, ConnectionsSurviveAForkExactly) {
  give_buffers(3);
  connect();
  transmit(header(kVsockOpData), "before");
  vsock_.send(kId, std::string(100, 'p'));
  EXPECT_EQ(only_packet().payload.size(), 100U);
  vsock_.send(kId, std::string(kRxBuffer, 'q'));
  EXPECT_EQ(only_packet().payload.size(), kRxBuffer);
  vsock_.send(kId, "waiting");             // no buffer left
  transmit(header(kVsockOpCreditUpdate));  // given back by the fork only

  const VsockState saved = testing::through_cbor(vsock_.state());
  const MmioTransportState saved_transport = machine_.transport->state();
  ASSERT_EQ(saved.connections.size(), 1U);
  EXPECT_EQ(saved.connections[0].sent, 100 + kRxBuffer);
  EXPECT_EQ(saved.connections[0].forwarded, 6U);
  EXPECT_EQ(std::string(saved.connections[0].unsent.begin(), saved.connections[0].unsent.end()),
            "waiting");

  RecordingListener heir;
  Machine child(ram_, heir, saved, saved_transport);
  EXPECT_EQ(child.vsock->state(), saved);
  EXPECT_EQ(child.vsock->connections(), std::vector<ConnectionId>{kId});
  child.transport->resume();
  EXPECT_TRUE(heir.connected.empty());
  driver_.move_to(*child.transport, ram_);
  transmit(header(kVsockOpData), "after");
  EXPECT_EQ(heir.received[kId], "after");
  child.vsock->send(kId, "!");
  give_buffers(1);
  kick_rx();
  const Packet packet = only_packet();
  EXPECT_EQ(packet.payload, "waiting!");
  EXPECT_EQ(packet.header.fwd_cnt, 11U);
  EXPECT_EQ(take_transmitted(), 2U);
}

TEST_F(VsockTest, InheritedConnectionsWithoutAListenerAreReset) {
  give_buffers(3);
  connect();
  VsockState saved = vsock_.state();
  saved.connections[0].host_port = 9;
  Machine child(ram_, listener_, saved, machine_.transport->state());
  EXPECT_TRUE(child.vsock->connections().empty());
  driver_.move_to(*child.transport, ram_);
  EXPECT_TRUE(packets().empty());
  child.transport->resume();
  const Packet packet = only_packet();
  EXPECT_EQ(packet.header.op, kVsockOpReset);
  EXPECT_EQ(packet.header.source_port, 9U);
}

VsockState example_state() {
  VsockState state;
  VsockConnectionState& one = state.connections.emplace_back();
  one.guest_port = 5000;
  one.host_port = kPort;
  one.forwarded = 0xfffffff0;
  one.forwarded_told = 0xffffff00;
  one.sent = 7;
  one.peer_buf_alloc = 262144;
  one.peer_fwd_cnt = 0xffffffff;
  one.peer_shutdown = kVsockShutdownSend;
  one.credit_requested = true;
  one.unsent = {0, 255, 'a'};
  VsockConnectionState& two = state.connections.emplace_back();
  two.guest_port = 5001;
  two.host_port = kPort;
  two.closing = true;
  two.shutdown_sent = true;
  state.resets.push_back({77, 6000, 99, 2});
  return state;
}

TEST(VsockStateTest, KeepsItsForm) {
  const VsockState state = example_state();
  EXPECT_EQ(testing::through_json(state), state);
  EXPECT_EQ(testing::through_cbor(state), state);
  testing::expect_golden(state, "virtio_vsock.json");
}

TEST(VsockStateTest, RestoresExactlyOrRefuses) {
  RecordingListener listener;
  const VsockOptions options{3, {{kPort, &listener}}};
  auto device = VsockDevice::create(options, example_state());
  ASSERT_TRUE(device);
  EXPECT_EQ((*device)->state(), example_state());
  struct Case {
    std::function<void(VsockState&)> damage;
    std::string field;
  };
  const std::vector<Case> cases = {
      {[](auto& state) { state.connections[1].guest_port = 5000; }, "connections[1]"},
      {[](auto& state) { state.connections[1].guest_port = 1; }, "connections[1]"},
      {[](auto& state) { state.connections[0].peer_shutdown = 3; }, "peer_shutdown"},
      {[](auto& state) { state.connections[1].closing = false; }, "shutdown_sent"},
      {[](auto& state) { state.connections[1].unsent = {1}; }, "shutdown_sent"},
      {[](auto& state) { state.resets.resize(5000); }, "resets"},
      {[](auto& state) { state.connections.resize(5000); }, "connections"},
  };
  for (const Case& bad : cases) {
    VsockState state = example_state();
    bad.damage(state);
    const auto refused = VsockDevice::create(options, state);
    ASSERT_FALSE(refused) << bad.field;
    EXPECT_EQ(refused.error().code(), ErrorCode::kCorrupt);
    EXPECT_NE(refused.error().message().find(bad.field), std::string::npos);
  }
}

}  // namespace
}  // namespace spore::virtio
