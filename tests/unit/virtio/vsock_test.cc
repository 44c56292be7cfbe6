// The packets of a vsock device, and what it makes of hostile ones.
#include <random>
#include <string>
#include <vector>

#include "support/state_round_trip.h"
#include "vsock_fixture.h"

namespace spore::virtio {
namespace {

TEST_F(VsockTest, HasTheGuestsCid) {
  EXPECT_EQ(driver_.read(kDeviceId), 19U);
  EXPECT_EQ(driver_.read_config<std::uint64_t>(0), 3U);
  EXPECT_EQ(driver_.read_config<std::uint32_t>(4), 0U);
}

TEST_F(VsockTest, ConnectsToARegisteredPort) {
  give_buffers(4);
  transmit(header(kVsockOpRequest));
  const Packet packet = only_packet();
  EXPECT_EQ(packet.header.op, kVsockOpResponse);
  EXPECT_EQ(packet.header.source_cid, 2U);
  EXPECT_EQ(packet.header.target_cid, 3U);
  EXPECT_EQ(packet.header.source_port, kPort);
  EXPECT_EQ(packet.header.target_port, 5000U);
  EXPECT_EQ(packet.header.type, kVsockTypeStream);
  EXPECT_EQ(packet.header.buf_alloc, VsockDevice::kBufferSize);
  EXPECT_EQ(listener_.connected, std::vector<ConnectionId>{kId});
  EXPECT_EQ(vsock_.connections(), std::vector<ConnectionId>{kId});
}

TEST_F(VsockTest, ResetsWhatItDoesNotKnow) {
  give_buffers(8);
  auto other_port = header(kVsockOpRequest);
  other_port.target_port = 99;
  auto other_cid = header(kVsockOpRequest);
  other_cid.target_cid = 77;
  auto seqpacket = header(kVsockOpRequest);
  seqpacket.type = 2;
  for (const auto& bad : {other_port, other_cid, seqpacket, header(kVsockOpData),
                          header(kVsockOpInvalid), header(99)}) {
    transmit(bad);
    const Packet packet = only_packet();
    EXPECT_EQ(packet.header.op, kVsockOpReset);
    EXPECT_EQ(packet.header.source_port, bad.target_port);
    EXPECT_EQ(packet.header.source_cid, bad.target_cid);
    EXPECT_EQ(packet.header.target_port, 5000U);
    EXPECT_EQ(packet.header.type, bad.type);
  }
  transmit(header(kVsockOpReset));
  EXPECT_TRUE(packets().empty());
  EXPECT_TRUE(listener_.connected.empty());
}

TEST_F(VsockTest, DropsPacketsThatLie) {
  give_buffers(4);
  connect();
  auto stranger = header(kVsockOpData);
  stranger.source_cid = 4;
  transmit(stranger, "abc");
  auto long_one = header(kVsockOpData);
  long_one.length = 4;
  transmit_raw(long_one, "abc");
  driver_.add(kVsockTxQueue, {{tx_, sizeof(VsockHeader) - 1}});
  driver_.kick(kVsockTxQueue);
  EXPECT_EQ(vsock_.dropped_packets(), 3U);
  EXPECT_TRUE(listener_.received.empty());
  EXPECT_TRUE(packets().empty());
}

TEST_F(VsockTest, TransmittedPacketsGoBackWithTheNextInterrupt) {
  give_buffers(4);
  connect();
  transmit(header(kVsockOpCreditUpdate));
  ASSERT_TRUE(packets().empty());
  const unsigned edges = machine_.edges;
  for (int i = 0; i < 9; ++i) {  // more of the same
    driver_.add(kVsockTxQueue, {{tx_, sizeof(VsockHeader)}});
    driver_.kick(kVsockTxQueue);
  }
  EXPECT_EQ(take_transmitted(), 0U);
  EXPECT_EQ(machine_.edges, edges);
  vsock_.send(kId, "news");
  EXPECT_EQ(take_transmitted(), 10U);
  EXPECT_EQ(only_packet().payload, "news");
}

TEST_F(VsockTest, TransmittedPacketsGoBackBeforeTheQueueIsFull) {
  const unsigned edges = machine_.edges;
  unsigned back = 0;
  for (unsigned i = 0; i < 300; ++i) {  // more than the queue holds
    driver_.add(kVsockTxQueue, {{tx_, sizeof(VsockHeader)}});
    driver_.kick(kVsockTxQueue);
    driver_.handle_interrupt();
    back += take_transmitted();
    driver_.set_used_event(kVsockTxQueue, driver_.queue(kVsockTxQueue).next_used);
    EXPECT_LE(i + 1 - back, 32U);
  }
  EXPECT_GE(machine_.edges, edges + 9);
  EXPECT_LE(machine_.edges, edges + 10);
}

TEST_F(VsockTest, CarriesBytesBothWays) {
  give_buffers(4);
  connect();
  listener_.answer = [this](ConnectionId id, std::string_view bytes) {
    vsock_.send(id, "re:" + std::string(bytes));
  };
  transmit(header(kVsockOpData), "hello");
  EXPECT_EQ(listener_.received[kId], "hello");
  const Packet packet = only_packet();
  EXPECT_EQ(packet.header.op, kVsockOpData);
  EXPECT_EQ(packet.payload, "re:hello");
  EXPECT_EQ(packet.header.fwd_cnt, 5U);
}

TEST_F(VsockTest, TellsCreditBeforeTheGuestRunsOut) {
  give_buffers(8);
  connect();
  const auto send_half = [this](std::uint32_t credit, std::uint32_t buf_alloc) {
    const std::string piece(credit / 2 / 8, 'x');
    VsockHeader data = header(kVsockOpData);
    data.buf_alloc = buf_alloc;
    for (int i = 0; i < 7; ++i) {
      transmit(data, piece);
      EXPECT_TRUE(packets().empty());
    }
    transmit(data, piece);
    const Packet update = only_packet();
    EXPECT_EQ(update.header.op, kVsockOpCreditUpdate);
    return update.header.fwd_cnt;
  };
  constexpr std::uint32_t kMuch = 2 * VsockDevice::kBufferSize;
  EXPECT_EQ(send_half(VsockDevice::kBufferSize, kMuch), VsockDevice::kBufferSize / 2);
  // A guest that uses no more of our credit than it gives.
  constexpr std::uint32_t kLittle = 256 * 1024;
  EXPECT_EQ(send_half(kLittle, kLittle), VsockDevice::kBufferSize / 2 + kLittle / 2);
  transmit(header(kVsockOpCreditRequest));
  EXPECT_EQ(only_packet().header.op, kVsockOpCreditUpdate);
}

TEST_F(VsockTest, SendsNoMoreThanTheGuestsCredit) {
  give_buffers(40);
  connect();
  std::string data(kGuestCredit + 10, 'a');
  for (std::size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<char>(i * 7);
  }
  vsock_.send(kId, data);
  std::string got;
  auto all = packets();
  ASSERT_EQ(all.size(), kGuestCredit / kRxBuffer + 1);
  EXPECT_EQ(all.back().header.op, kVsockOpCreditRequest);
  for (const Packet& packet : all) {
    got += packet.payload;
  }
  EXPECT_EQ(got, data.substr(0, kGuestCredit));
  EXPECT_EQ(vsock_.unsent_bytes(kId), 10U);
  transmit(header(kVsockOpCreditUpdate));  // nothing new: not asked again
  EXPECT_TRUE(packets().empty());
  consumed_ = 4;
  transmit(header(kVsockOpCreditUpdate));
  all = packets();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].payload, data.substr(kGuestCredit, 4));
  EXPECT_EQ(all[1].header.op, kVsockOpCreditRequest);
  consumed_ = kGuestCredit + 4;
  transmit(header(kVsockOpCreditUpdate));
  EXPECT_EQ(only_packet().payload, data.substr(kGuestCredit + 4));
  EXPECT_EQ(vsock_.unsent_bytes(kId), 0U);
}

TEST_F(VsockTest, GoesOnWhenTheGuestGivesBuffers) {
  give_buffers(1);
  connect();
  vsock_.send(kId, "first ");
  vsock_.send(kId, "second");
  EXPECT_TRUE(packets().empty());
  const unsigned edges = machine_.edges;
  driver_.set_used_event(kVsockRxQueue, driver_.queue(kVsockRxQueue).next_used);
  give_buffers(2);
  kick_rx();
  EXPECT_EQ(only_packet().payload, "first second");
  EXPECT_EQ(machine_.edges, edges + 1);
}

TEST_F(VsockTest, AsksForBufferNotificationsOnlyWhenItNeedsBuffers) {
  give_buffers(8);
  connect();
  vsock_.send(kId, "x");
  EXPECT_EQ(driver_.available_event(kVsockRxQueue), 0U);
  for (int i = 0; i < 7; ++i) {
    vsock_.send(kId, "x");
  }
  EXPECT_EQ(driver_.available_event(kVsockRxQueue), 8U);
}

TEST_F(VsockTest, UselessBuffersComeBackEmpty) {
  rx_[driver_.add(kVsockRxQueue, {{driver_.allocate(44), 44, true}})] = GuestRam::kBase;
  give_buffers(1);
  transmit(header(kVsockOpRequest));
  const auto all = packets();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].header.op, kVsockOpInvalid);
  EXPECT_EQ(all[1].header.op, kVsockOpResponse);
}

TEST_F(VsockTest, CreditThatMakesNoSenseSendsNothing) {
  give_buffers(4);
  connect();
  auto lie = header(kVsockOpCreditUpdate);
  lie.fwd_cnt = 100;  // of 0 bytes sent
  lie.buf_alloc = 50;
  transmit(lie);
  vsock_.send(kId, "abc");
  EXPECT_EQ(only_packet().header.op, kVsockOpCreditRequest);
}

TEST_F(VsockTest, GuestClosesInOrder) {
  give_buffers(4);
  connect();
  auto half = header(kVsockOpShutdown);
  half.flags = kVsockShutdownSend;
  transmit(half);
  vsock_.send(kId, "still");
  EXPECT_EQ(only_packet().payload, "still");
  auto end = header(kVsockOpShutdown);
  end.flags = kVsockShutdownBoth;
  transmit(end);
  EXPECT_EQ(only_packet().header.op, kVsockOpReset);
  EXPECT_EQ(listener_.closed, std::vector<ConnectionId>{kId});
  EXPECT_TRUE(vsock_.connections().empty());
  vsock_.send(kId, "lost");
  vsock_.close(kId);
  EXPECT_TRUE(packets().empty());
}

TEST_F(VsockTest, GuestResets) {
  give_buffers(4);
  connect();
  transmit(header(kVsockOpReset));
  EXPECT_EQ(listener_.closed, std::vector<ConnectionId>{kId});
  EXPECT_TRUE(packets().empty());
}

TEST_F(VsockTest, HostClosesAfterItsLastByte) {
  give_buffers(2);
  connect();
  vsock_.send(kId, std::string(kRxBuffer + 1, 'z'));
  vsock_.close(kId);
  EXPECT_EQ(only_packet().payload.size(), kRxBuffer);
  give_buffers(4);
  kick_rx();
  const auto all = packets();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].payload, "z");
  EXPECT_EQ(all[1].header.op, kVsockOpShutdown);
  EXPECT_EQ(all[1].header.flags, kVsockShutdownBoth);
  transmit(header(kVsockOpData), "ignored");
  transmit(header(kVsockOpReset));
  EXPECT_TRUE(listener_.closed.empty());
  EXPECT_TRUE(listener_.received.empty());
  EXPECT_TRUE(vsock_.state().connections.empty());
}

TEST_F(VsockTest, APortCanBeUsedAnewWhileTheOldEndIsClosing) {
  give_buffers(4);
  connect();
  vsock_.close(kId);
  EXPECT_EQ(only_packet().header.op, kVsockOpShutdown);
  connect();
  EXPECT_EQ(listener_.connected.size(), 2U);
}

TEST_F(VsockTest, ASecondRequestOrBadOpResets) {
  give_buffers(8);
  for (const std::uint16_t op : {kVsockOpRequest, kVsockOpResponse, kVsockOpInvalid}) {
    connect();
    transmit(header(op));
    EXPECT_EQ(only_packet().header.op, kVsockOpReset);
    EXPECT_TRUE(vsock_.connections().empty());
  }
  EXPECT_EQ(listener_.closed.size(), 3U);
}

TEST_F(VsockTest, BoundsConnectionsAndUndeliverableResets) {
  for (std::uint32_t port = 1; port <= 3000; ++port) {
    transmit(header(kVsockOpRequest, {port, kPort}));
  }
  EXPECT_EQ(vsock_.connections().size(), VsockDevice::kMaxConnections);
  EXPECT_EQ(vsock_.state().resets.size(), VsockDevice::kMaxResets);
  EXPECT_GT(vsock_.dropped_packets(), 0U);
}

TEST_F(VsockTest, DriverResetClosesEverything) {
  give_buffers(4);
  connect();
  driver_.write(kStatus, 0);
  EXPECT_EQ(listener_.closed, std::vector<ConnectionId>{kId});
  EXPECT_EQ(vsock_.state(), VsockState{});
  vsock_.send(kId, "lost");
}

TEST_F(VsockTest, MutatedPacketsNeverBreakTheDevice) {
  std::mt19937_64 random(42);  // NOLINT: the same every time
  give_buffers(32);
  const ConnectionId ids[] = {kId, {5001, kPort}, {5002, kPort}, {5003, 99}};
  for (int round = 0; round < 20'000; ++round) {
    auto packet = header(static_cast<std::uint16_t>(random() % 9), ids[random() % 4]);
    packet.length = static_cast<std::uint32_t>(random() % 40);
    packet.flags = static_cast<std::uint32_t>(random() % 5);
    if (random() % 4 == 0) {
      auto bytes = std::as_writable_bytes(std::span(&packet, 1));
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    transmit_raw(packet, std::string(random() % 40, 'm'));
    const ConnectionId id = ids[random() % 4];
    if (random() % 3 == 0) {
      vsock_.send(id, "from the host");
    } else if (random() % 16 == 0) {
      vsock_.close(id);
    }
    while (const auto used = driver_.take_used(kVsockRxQueue)) {
      const std::uint64_t address = rx_.at(static_cast<std::uint16_t>(used->id));
      rx_[driver_.add(kVsockRxQueue, {{address, 44, true}, {address + 44, kRxBuffer, true}})] =
          address;
    }
    if (round % 500 == 0) {
      RecordingListener other;
      Machine child(ram_, other, testing::through_json(vsock_.state()),
                    machine_.transport->state());
      ASSERT_EQ(child.vsock->state(), vsock_.state());
    }
  }
  EXPECT_FALSE(listener_.received.empty());
  EXPECT_TRUE(ram_.guards_intact());
}

}  // namespace
}  // namespace spore::virtio
