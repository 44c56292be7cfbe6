// A vsock device with nothing around it, and the guest's driver; shared by the tests of its packets
// and of its state.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "support/virtio_driver_fake.h"
#include "virtio/mmio_transport.h"
#include "virtio/vsock.h"

namespace spore::virtio {

using testing::CountingLine;
using testing::GuestRam;
using ::testing::Test;
using testing::VirtioDriverFake;

inline constexpr std::uint32_t kPort = 1024;
inline constexpr std::uint32_t kGuestCredit = 64 * 1024;
inline constexpr std::uint32_t kRxBuffer = 4096;
inline constexpr ConnectionId kId{5000, kPort};

class RecordingListener final : public VsockListener {
 public:
  void on_connected(ConnectionId id) override { connected.push_back(id); }
  void on_bytes(ConnectionId id, std::string_view bytes) override {
    received[id] += bytes;
    if (answer) {
      answer(id, bytes);
    }
  }
  void on_closed(ConnectionId id) override { closed.push_back(id); }

  std::vector<ConnectionId> connected;
  std::vector<ConnectionId> closed;
  std::map<ConnectionId, std::string> received;
  std::function<void(ConnectionId, std::string_view)> answer;
};

struct Packet {
  VsockHeader header;
  std::string payload;
};

// A machine with the device alone, and the guest's driver.
class Machine {
 public:
  Machine(GuestRam& ram, RecordingListener& listener, const VsockState& state,
          const MmioTransportState& transport_state) {
    VsockOptions options;
    options.listeners[kPort] = &listener;
    auto device = std::move(*VsockDevice::create(std::move(options), state));
    vsock = device.get();
    transport = std::move(*MmioTransport::create(
        std::move(device), ram.memory(), std::make_unique<CountingLine>(edges), transport_state));
  }
  unsigned edges = 0;
  VsockDevice* vsock = nullptr;
  std::unique_ptr<MmioTransport> transport;
};

class VsockTest : public Test {
 protected:
  VsockTest() {
    EXPECT_TRUE(driver_.start(kFeatureVersion1 | kFeatureEventIdx));
    tx_ = driver_.allocate(sizeof(VsockHeader) + 128 * 1024);
  }

  void give_buffers(unsigned count, std::uint32_t size = kRxBuffer) {
    for (unsigned i = 0; i < count; ++i) {
      // As Linux 6.1 does: the header apart from the payload.
      const std::uint64_t address = driver_.allocate(sizeof(VsockHeader) + size);
      rx_[driver_.add(kVsockRxQueue, {{address, sizeof(VsockHeader), true},
                                      {address + sizeof(VsockHeader), size, true}})] = address;
    }
  }
  void kick_rx() { driver_.kick(kVsockRxQueue); }

  VsockHeader header(std::uint16_t op, ConnectionId id = kId) {
    VsockHeader header;
    header.source_cid = 3;
    header.target_cid = 2;
    header.source_port = id.guest_port;
    header.target_port = id.host_port;
    header.type = kVsockTypeStream;
    header.op = op;
    header.buf_alloc = kGuestCredit;
    header.fwd_cnt = consumed_;
    return header;
  }

  void transmit(VsockHeader header, std::string_view payload = {}) {
    header.length = static_cast<std::uint32_t>(payload.size());
    transmit_raw(header, payload);
  }
  void transmit_raw(const VsockHeader& header, std::string_view payload) {
    ASSERT_TRUE(ram_.memory().store(tx_, header));
    ASSERT_TRUE(ram_.memory().write(tx_ + sizeof(header), std::as_bytes(std::span(payload))));
    driver_.add(kVsockTxQueue,
                {{tx_, sizeof(header)},
                 {tx_ + sizeof(header), static_cast<std::uint32_t>(payload.size())}});
    driver_.kick(kVsockTxQueue);
    take_transmitted();
  }
  // How many of the driver's packets the device has given back since it was last asked.
  unsigned take_transmitted() {
    unsigned count = 0;
    while (driver_.take_used(kVsockTxQueue)) {
      ++count;
    }
    return count;
  }

  std::vector<Packet> packets() {
    std::vector<Packet> all;
    while (const auto used = driver_.take_used(kVsockRxQueue)) {
      const std::uint64_t address = rx_.at(static_cast<std::uint16_t>(used->id));
      Packet packet;
      if (used->length >= sizeof(VsockHeader)) {
        packet.header = *ram_.memory().load<VsockHeader>(address);
        packet.payload =
            driver_.bytes_at(address + sizeof(VsockHeader), used->length - sizeof(VsockHeader));
        EXPECT_EQ(packet.header.length, packet.payload.size());
      }
      all.push_back(std::move(packet));
    }
    return all;
  }
  Packet only_packet() {
    auto all = packets();
    EXPECT_EQ(all.size(), 1U);
    return all.empty() ? Packet{} : all.front();
  }
  void connect(ConnectionId id = kId) {
    transmit(header(kVsockOpRequest, id));
    EXPECT_EQ(only_packet().header.op, kVsockOpResponse);
  }

  GuestRam ram_{8 << 20};
  RecordingListener listener_;
  Machine machine_{ram_, listener_, {}, {}};
  VsockDevice& vsock_ = *machine_.vsock;
  VirtioDriverFake driver_{*machine_.transport, ram_};
  std::map<std::uint16_t, std::uint64_t> rx_;
  std::uint64_t tx_ = 0;
  std::uint32_t consumed_ = 0;  // by the guest
};

}  // namespace spore::virtio
