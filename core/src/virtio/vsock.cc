#include "virtio/vsock.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "virtio/mmio_registers.h"

namespace spore::virtio {
namespace {

constexpr std::array<std::uint16_t, 3> kQueueSizes = {256, 256, 16};

ConnectionId id_of(const VsockConnectionState& state) {
  return {state.guest_port, state.host_port};
}

// 5.10.6.3: how many bytes the guest has room for.
std::uint32_t credit(const VsockConnectionState& state) {
  const std::uint32_t under_way = state.sent - state.peer_fwd_cnt;
  return under_way < state.peer_buf_alloc ? state.peer_buf_alloc - under_way : 0;
}

Result<void> corrupt(std::string_view what) {
  return fail(
      ErrorCode::kCorrupt,
      fmt::format("restoring the vsock device: {}; the spore is damaged, or made by another "
                  "version: capture it again",
                  what));
}

}  // namespace

Result<std::unique_ptr<VsockDevice>> VsockDevice::create(VsockOptions options,
                                                         const VsockState& state) {
  SPORE_TRY(validate(state));
  std::unique_ptr<VsockDevice> device(new VsockDevice(std::move(options)));
  device->resets_.assign(state.resets.begin(), state.resets.end());
  for (const VsockConnectionState& saved : state.connections) {
    if (device->listener(saved.host_port) == nullptr) {
      device->queue_reset({kVsockHostCid, saved.guest_port, saved.host_port, kVsockTypeStream});
      continue;
    }
    Connection& connection = device->connections_[id_of(saved)];
    connection.state = saved;
    connection.state.unsent.clear();
    if (!saved.unsent.empty()) {
      connection.unsent.emplace_back(saved.unsent.begin(), saved.unsent.end());
    }
    device->want_to_send(connection);
  }
  return device;
}

Result<void> VsockDevice::validate(const VsockState& state) {
  if (state.connections.size() > kMaxConnections) {
    return corrupt(fmt::format("connections has {} entries, more than {}", state.connections.size(),
                               kMaxConnections));
  }
  if (state.resets.size() > kMaxResets) {
    return corrupt(
        fmt::format("resets has {} entries, more than {}", state.resets.size(), kMaxResets));
  }
  for (std::size_t i = 0; i < state.connections.size(); ++i) {
    const VsockConnectionState& connection = state.connections[i];
    if (i > 0 && id_of(state.connections[i - 1]) >= id_of(connection)) {
      return corrupt(fmt::format("connections[{}] is out of order, or there twice", i));
    }
    if (connection.peer_shutdown >= kVsockShutdownBoth) {
      return corrupt(fmt::format("connections[{}].peer_shutdown is {}, which cannot be", i,
                                 connection.peer_shutdown));
    }
    if (connection.shutdown_sent && (!connection.closing || !connection.unsent.empty())) {
      return corrupt(fmt::format("connections[{}].shutdown_sent is set too early", i));
    }
  }
  return {};
}

VsockState VsockDevice::state() const {
  VsockState state;
  state.connections.reserve(connections_.size());
  for (const auto& [id, connection] : connections_) {
    VsockConnectionState& saved = state.connections.emplace_back(connection.state);
    std::size_t skip = connection.unsent_offset;
    for (const std::string& bytes : connection.unsent) {
      saved.unsent.insert(saved.unsent.end(), bytes.begin() + static_cast<std::ptrdiff_t>(skip),
                          bytes.end());
      skip = 0;
    }
  }
  state.resets.assign(resets_.begin(), resets_.end());
  return state;
}

// ---- device -----------------------------------------------------------------------------------

std::uint32_t VsockDevice::id() const noexcept {
  return kDeviceIdVsock;
}

std::span<const std::uint16_t> VsockDevice::queue_sizes() const noexcept {
  return kQueueSizes;
}

void VsockDevice::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  read_config_struct(VsockConfigSpace{options_.guest_cid}, offset, data);
}

void VsockDevice::activate(std::uint64_t features, std::span<VirtQueue> queues) {
  static_cast<void>(features);
  queues_ = queues;
  queues_[kVsockTxQueue].hold_back();
}

void VsockDevice::on_notify(std::uint16_t queue) {
  if (queue == kVsockTxQueue) {
    receiving_ = true;
    queues_[kVsockTxQueue].drain([this](DescriptorChain& chain) { receive(chain); });
    receiving_ = false;
  }
  flush();
}

void VsockDevice::on_reset() {
  queues_ = {};
  ready_.clear();
  resets_.clear();
  const auto gone = std::exchange(connections_, {});
  for (const auto& [id, connection] : gone) {
    if (!connection.state.closing) {
      listener(id.host_port)->on_closed(id);
    }
  }
}

// ---- what the host end does -------------------------------------------------------------------

void VsockDevice::send(ConnectionId id, std::string_view bytes) {
  const auto found = connections_.find(id);
  if (found == connections_.end() || found->second.state.closing || bytes.empty() ||
      (found->second.state.peer_shutdown & kVsockShutdownReceive) != 0) {
    return;
  }
  found->second.unsent.emplace_back(bytes);
  want_to_send(found->second);
  if (!receiving_) {
    flush();
  }
}

void VsockDevice::close(ConnectionId id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) {
    return;
  }
  found->second.state.closing = true;
  want_to_send(found->second);
  if (!receiving_) {
    flush();
  }
}

std::vector<ConnectionId> VsockDevice::connections() const {
  std::vector<ConnectionId> open;
  for (const auto& [id, connection] : connections_) {
    if (!connection.state.closing) {
      open.push_back(id);
    }
  }
  return open;
}

std::size_t VsockDevice::unsent_bytes(ConnectionId id) const {
  const auto found = connections_.find(id);
  if (found == connections_.end()) {
    return 0;
  }
  std::size_t sum = 0;
  for (const std::string& bytes : found->second.unsent) {
    sum += bytes.size();
  }
  return sum - found->second.unsent_offset;
}

VsockListener* VsockDevice::listener(std::uint32_t host_port) const {
  const auto found = options_.listeners.find(host_port);
  return found == options_.listeners.end() ? nullptr : found->second;
}

// ---- what the guest sends ---------------------------------------------------------------------

void VsockDevice::receive(DescriptorChain& chain) {
  VsockHeader header;
  if (chain.read(std::as_writable_bytes(std::span(&header, 1))) != sizeof(header) ||
      header.length > chain.readable_bytes() || header.length > kBufferSize ||
      header.source_cid != options_.guest_cid) {
    ++dropped_;
    return;
  }
  if (header.op == kVsockOpData) {
    incoming_.resize(header.length);
    chain.read(std::as_writable_bytes(std::span(incoming_)));
  }
  chain.complete();
  if (header.target_cid != kVsockHostCid || header.type != kVsockTypeStream) {
    return reset_unknown(header);
  }
  if (header.op == kVsockOpRequest) {
    return receive_request(header);
  }
  const auto found = connections_.find({header.source_port, header.target_port});
  if (found == connections_.end()) {
    return reset_unknown(header);
  }
  receive_for(found->second, header);
}

void VsockDevice::receive_request(const VsockHeader& header) {
  const ConnectionId id{header.source_port, header.target_port};
  if (const auto found = connections_.find(id); found != connections_.end()) {
    if (!found->second.state.closing) {
      return reset_connection(id);
    }
    remove(id);  // the guest has forgotten it, or its RST was late: the port is used anew
  }
  VsockListener* const host = listener(id.host_port);
  if (host == nullptr || connections_.size() >= kMaxConnections) {
    return reset_unknown(header);
  }
  Connection& connection = connections_[id];
  connection.state.guest_port = id.guest_port;
  connection.state.host_port = id.host_port;
  connection.state.peer_buf_alloc = header.buf_alloc;
  connection.state.peer_fwd_cnt = header.fwd_cnt;
  connection.state.respond = true;
  want_to_send(connection);
  host->on_connected(id);
}

void VsockDevice::receive_for(Connection& connection, const VsockHeader& header) {
  VsockConnectionState& state = connection.state;
  const ConnectionId id = id_of(state);
  state.peer_buf_alloc = header.buf_alloc;
  state.peer_fwd_cnt = header.fwd_cnt;
  state.credit_requested = state.credit_requested && credit(state) == 0;
  switch (header.op) {
    case kVsockOpData:
      if ((state.peer_shutdown & kVsockShutdownSend) != 0) {
        return reset_connection(id);
      }
      receive_data(connection);
      break;
    case kVsockOpCreditUpdate:
      break;
    case kVsockOpCreditRequest:
      state.update_credit = true;
      break;
    case kVsockOpShutdown:
      state.peer_shutdown |= header.flags & kVsockShutdownBoth;
      if (state.peer_shutdown == kVsockShutdownBoth) {
        return reset_connection(id);  // 5.10.6.5: the answer to a clean end
      }
      if (state.peer_shutdown == kVsockShutdownReceive) {
        connection.unsent.clear();
        connection.unsent_offset = 0;
      }
      break;
    case kVsockOpReset:
      return tell_closed(id);
    default:
      return reset_connection(id);
  }
  want_to_send(connection);
}

void VsockDevice::receive_data(Connection& connection) {
  VsockConnectionState& state = connection.state;
  state.forwarded += static_cast<std::uint32_t>(incoming_.size());
  // Linux takes no more credit than it gives itself, in recent kernels, and
  // waits for more where it sees none.
  const std::uint32_t taken = std::min(kBufferSize, state.peer_buf_alloc);
  if (state.forwarded - state.forwarded_told >= taken / 2) {
    state.update_credit = true;
  }
  if (!state.closing && !incoming_.empty()) {
    listener(state.host_port)->on_bytes(id_of(state), incoming_);
  }
}

void VsockDevice::remove(ConnectionId id) {
  const auto found = connections_.find(id);
  if (found->second.queued) {
    ready_.erase(std::find(ready_.begin(), ready_.end(), id));
  }
  connections_.erase(found);
}

void VsockDevice::tell_closed(ConnectionId id) {
  const bool known_closed = connections_.at(id).state.closing;
  remove(id);
  if (!known_closed) {
    listener(id.host_port)->on_closed(id);
  }
}

void VsockDevice::reset_connection(ConnectionId id) {
  queue_reset({kVsockHostCid, id.guest_port, id.host_port, kVsockTypeStream});
  tell_closed(id);
}

void VsockDevice::reset_unknown(const VsockHeader& header) {
  if (header.op != kVsockOpReset) {
    queue_reset({header.target_cid, header.source_port, header.target_port, header.type});
  }
}

// A guest that gives no buffers for its answers gets at most kMaxResets of them.
void VsockDevice::queue_reset(const VsockResetState& reset) {
  if (resets_.size() < kMaxResets) {
    resets_.push_back(reset);
  } else {
    ++dropped_;
  }
}

// ---- sending to the guest ---------------------------------------------------------------------

void VsockDevice::want_to_send(Connection& connection) {
  if (!connection.queued && has_packet(connection)) {
    connection.queued = true;
    ready_.push_back(id_of(connection.state));
  }
}

bool VsockDevice::has_packet(const Connection& connection) {
  const VsockConnectionState& state = connection.state;
  if (state.respond || state.update_credit) {
    return true;
  }
  if (!connection.unsent.empty()) {
    return credit(state) > 0 || !state.credit_requested;
  }
  return state.closing && !state.shutdown_sent;
}

void VsockDevice::flush() {
  if (queues_.empty()) {
    return;
  }
  while (!resets_.empty()) {
    auto buffer = receive_buffer();
    if (!buffer) {
      break;
    }
    send_reset(*buffer);
  }
  while (resets_.empty() && !ready_.empty()) {
    Connection& connection = connections_.at(ready_.front());
    if (has_packet(connection)) {
      auto buffer = receive_buffer();
      if (!buffer) {
        break;
      }
      send_packet(*buffer, connection);
    }
    ready_.pop_front();
    connection.queued = false;
    want_to_send(connection);
  }
  if (queues_[kVsockRxQueue].has_untold()) {
    queues_[kVsockTxQueue].give_back();  // one interrupt tells of both
  }
  queues_[kVsockRxQueue].signal();
}

// The guest's next buffer that a packet with at least one byte fits in.
std::optional<DescriptorChain> VsockDevice::receive_buffer() {
  for (unsigned tries = 0; tries < VirtQueue::kWorkBudget; ++tries) {
    auto chain = queues_[kVsockRxQueue].pop();
    if (!chain || chain->writable_bytes() > sizeof(VsockHeader)) {
      return chain;
    }
    ++dropped_;
  }
  return std::nullopt;
}

void VsockDevice::send_reset(DescriptorChain& buffer) {
  const VsockResetState& reset = resets_.front();
  VsockHeader header;
  header.source_cid = reset.host_cid;
  header.target_cid = options_.guest_cid;
  header.source_port = reset.host_port;
  header.target_port = reset.guest_port;
  header.type = reset.type;
  header.op = kVsockOpReset;
  buffer.write(std::as_bytes(std::span(&header, 1)));
  resets_.pop_front();
}

void VsockDevice::send_packet(DescriptorChain& buffer, Connection& connection) {
  VsockConnectionState& state = connection.state;
  if (!state.respond && !connection.unsent.empty() && credit(state) > 0) {
    return send_data(buffer, connection);
  }
  VsockHeader header;
  if (std::exchange(state.respond, false)) {
    header.op = kVsockOpResponse;
  } else if (state.update_credit) {
    header.op = kVsockOpCreditUpdate;
  } else if (!connection.unsent.empty()) {
    header.op = kVsockOpCreditRequest;
    state.credit_requested = true;
  } else {
    header.op = kVsockOpShutdown;
    header.flags = kVsockShutdownBoth;
    state.shutdown_sent = true;
  }
  fill_header(header, state);
  buffer.write(std::as_bytes(std::span(&header, 1)));
}

void VsockDevice::send_data(DescriptorChain& buffer, Connection& connection) {
  std::uint64_t waiting = 0;
  const std::uint64_t most = std::min<std::uint64_t>(
      {credit(connection.state), buffer.writable_bytes() - sizeof(VsockHeader), kMaxPayload});
  std::size_t skip = connection.unsent_offset;
  for (const std::string& bytes : connection.unsent) {
    waiting += bytes.size() - std::exchange(skip, 0);
    if (waiting >= most) {
      break;
    }
  }
  VsockHeader header;
  header.op = kVsockOpData;
  header.length = static_cast<std::uint32_t>(std::min(waiting, most));
  fill_header(header, connection.state);
  connection.state.sent += header.length;
  buffer.write(std::as_bytes(std::span(&header, 1)));
  for (std::size_t left = header.length; left > 0;) {
    const std::string& bytes = connection.unsent.front();
    const std::size_t step = std::min(left, bytes.size() - connection.unsent_offset);
    buffer.write(std::as_bytes(std::span(bytes).subspan(connection.unsent_offset, step)));
    left -= step;
    connection.unsent_offset += step;
    if (connection.unsent_offset == bytes.size()) {
      connection.unsent.pop_front();
      connection.unsent_offset = 0;
    }
  }
}

// Addresses and credit of a packet; the guest knows our credit from then on.
void VsockDevice::fill_header(VsockHeader& header, VsockConnectionState& state) const {
  header.source_cid = kVsockHostCid;
  header.target_cid = options_.guest_cid;
  header.source_port = state.host_port;
  header.target_port = state.guest_port;
  header.type = kVsockTypeStream;
  header.buf_alloc = kBufferSize;
  header.fwd_cnt = state.forwarded;
  state.forwarded_told = state.forwarded;
  state.update_credit = false;
}

}  // namespace spore::virtio
