// VsockDevice: a virtio socket device whose host end is in this process. The guest connects to
// (CID 2, port); a port answers when a VsockListener was given for it.
//
// Packets from the guest are hostile: headers are copied, then checked. A packet that makes no
// sense is answered with RST, or dropped when not even that is possible.
//
// Flow control (Virtio 1.2, 5.10.6.3): a listener takes bytes at once, so that the guest always has
// nearly kBufferSize of credit; towards the guest, bytes wait here until it has credit and buffers.
//
// A connection of a restored state whose port has a listener goes on as if nothing had happened;
// the others are reset.
#pragma once

#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spore/result.h"
#include "virtio/device.h"
#include "virtio/vsock_registers.h"

namespace spore::virtio {

// A stream between one port of the guest and one of the host.
struct ConnectionId {
  std::uint32_t guest_port = 0;
  std::uint32_t host_port = 0;
  auto operator<=>(const ConnectionId&) const = default;
};

// The host end of one port. Called with the device lock held; may call send() and close().
class VsockListener {
 public:
  virtual ~VsockListener() = default;
  virtual void on_connected(ConnectionId id) = 0;
  // `bytes` is a copy of what the guest sent, good until the call returns.
  virtual void on_bytes(ConnectionId id, std::string_view bytes) = 0;
  // The guest closed or reset it, or was reset itself. Not called for what close() ended.
  virtual void on_closed(ConnectionId id) = 0;
};

// Stream counters wrap at 2^32, as the specification says.
struct VsockConnectionState {
  std::uint32_t guest_port = 0;
  std::uint32_t host_port = 0;
  std::uint32_t forwarded = 0;       // bytes taken from the guest (our fwd_cnt)
  std::uint32_t forwarded_told = 0;  // fwd_cnt in the last packet sent to the guest
  std::uint32_t sent = 0;            // bytes sent to the guest (tx_cnt)
  std::uint32_t peer_buf_alloc = 0;  // as last told by the guest
  std::uint32_t peer_fwd_cnt = 0;    // as last told by the guest
  std::uint32_t peer_shutdown = 0;   // kVsockShutdown flags of the guest
  bool respond = false;              // owes a RESPONSE
  bool update_credit = false;        // owes a CREDIT_UPDATE
  bool credit_requested = false;     // sent a CREDIT_REQUEST that is not answered
  bool closing = false;              // closed by the host: SHUTDOWN follows the last byte
  bool shutdown_sent = false;        // waits for the guest's RST
  std::vector<std::uint8_t> unsent;  // bytes for the guest that wait for credit or buffers
  bool operator==(const VsockConnectionState&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VsockConnectionState, guest_port, host_port, forwarded,
                                   forwarded_told, sent, peer_buf_alloc, peer_fwd_cnt,
                                   peer_shutdown, respond, update_credit, credit_requested, closing,
                                   shutdown_sent, unsent)

// A RST that waits for a buffer, for a connection that is not (or no longer) in the table.
struct VsockResetState {
  std::uint64_t host_cid = kVsockHostCid;
  std::uint32_t guest_port = 0;
  std::uint32_t host_port = 0;
  std::uint16_t type = kVsockTypeStream;
  bool operator==(const VsockResetState&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VsockResetState, host_cid, guest_port, host_port, type)

struct VsockState {
  std::vector<VsockConnectionState> connections;  // sorted by guest port, then host port
  std::vector<VsockResetState> resets;
  bool operator==(const VsockState&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VsockState, connections, resets)

struct VsockOptions {
  std::uint64_t guest_cid = 3;
  std::map<std::uint32_t, VsockListener*> listeners;  // by host port; they outlive the device
};

class VsockDevice final : public VirtioDevice {
 public:
  static constexpr std::uint32_t kBufferSize = 1024 * 1024;  // the credit that the guest gets
  static constexpr std::size_t kMaxConnections = 1024;
  static constexpr std::size_t kMaxResets = 1024;
  static constexpr std::uint32_t kMaxPayload = 64 * 1024;  // of a packet to the guest

  // kCorrupt names the field of `state` that cannot be.
  static Result<std::unique_ptr<VsockDevice>> create(VsockOptions options, const VsockState& state);

  // Queues bytes without limit, and sends what the guest has credit and buffers for. Bytes for a
  // connection that is gone are dropped.
  void send(ConnectionId id, std::string_view bytes);
  // Ends the connection once everything that was sent before has gone out. Its listener hears
  // nothing more of it.
  void close(ConnectionId id);
  // Those that are open, sorted: after a restore, the inherited ones.
  [[nodiscard]] std::vector<ConnectionId> connections() const;
  // Bytes that send() took and the guest has not got yet.
  [[nodiscard]] std::size_t unsent_bytes(ConnectionId id) const;

  [[nodiscard]] VsockState state() const;
  [[nodiscard]] std::uint64_t dropped_packets() const noexcept { return dropped_; }

  [[nodiscard]] std::string_view name() const noexcept override { return "vsock"; }
  [[nodiscard]] std::uint32_t id() const noexcept override;
  [[nodiscard]] std::uint64_t features() const noexcept override { return 0; }
  [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const noexcept override;
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void activate(std::uint64_t features, std::span<VirtQueue> queues) override;
  void on_notify(std::uint16_t queue) override;
  void on_resume() override { flush(); }
  void on_reset() override;

 private:
  // What is known of a connection, and its unsent bytes as a queue of what send() was given.
  struct Connection {
    VsockConnectionState state;      // `unsent` stays empty
    std::deque<std::string> unsent;  // the first one from `unsent_offset`
    std::size_t unsent_offset = 0;
    bool queued = false;  // is in ready_
  };

  explicit VsockDevice(VsockOptions options) : options_(std::move(options)) {}
  static Result<void> validate(const VsockState& state);

  void receive(DescriptorChain& chain);
  void receive_request(const VsockHeader& header);
  void receive_for(Connection& connection, const VsockHeader& header);
  void receive_data(Connection& connection);
  [[nodiscard]] VsockListener* listener(std::uint32_t host_port) const;
  void remove(ConnectionId id);
  void tell_closed(ConnectionId id);
  void reset_connection(ConnectionId id);
  void reset_unknown(const VsockHeader& header);
  void queue_reset(const VsockResetState& reset);

  // Packets go out as long as there are buffers and something to say.
  void want_to_send(Connection& connection);
  [[nodiscard]] static bool has_packet(const Connection& connection);
  void flush();
  [[nodiscard]] std::optional<DescriptorChain> receive_buffer();
  void send_reset(DescriptorChain& buffer);
  void send_packet(DescriptorChain& buffer, Connection& connection);
  void send_data(DescriptorChain& buffer, Connection& connection);
  void fill_header(VsockHeader& header, VsockConnectionState& state) const;

  VsockOptions options_;
  std::map<ConnectionId, Connection> connections_;
  std::deque<VsockResetState> resets_;
  std::deque<ConnectionId> ready_;  // those with a packet to send, each once; in turn
  std::span<VirtQueue> queues_;     // empty while the driver is not ready
  std::string incoming_;            // payload of the packet at hand
  bool receiving_ = false;          // what callbacks send goes out when all is received
  std::uint64_t dropped_ = 0;
};

}  // namespace spore::virtio
