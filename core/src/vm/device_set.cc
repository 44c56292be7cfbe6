#include "vm/device_set.h"

#include <utility>

#include "isa/board.h"
#include "virtio/block.h"
#include "virtio/console.h"
#include "virtio/rng.h"
#include "vm/entropy.h"
#include "wire/agent_protocol.h"

namespace spore::vm {

Result<std::unique_ptr<DeviceSet>> DeviceSet::create(DeviceSetOptions options,
                                                     const memory::GuestMemory& memory,
                                                     const DeviceSetState& state) {
  std::unique_ptr<DeviceSet> set(new DeviceSet(std::move(options)));
  SPORE_ASSIGN(set->platform_, isa::Platform::create({set->options_.console, set->options_.msi},
                                                     state.platform, set->mmio_, set->ports_));
  set->generation_ =
      std::make_unique<devices::GenerationDevice>(set->options_.doorbell, state.generation);
  set->generation_line_ = set->platform_->line(isa::kGsiGeneration);
  set->mmio_.add({isa::kDoorbell, wire::kDoorbellWindowSize, set->generation_.get()});
  SPORE_TRY(set->add_slots(memory, state));
  return set;
}

Result<void> DeviceSet::add_slots(const memory::GuestMemory& memory, const DeviceSetState& state) {
  if (!state.slots.empty() && state.slots.size() != isa::kSlotCount) {
    return fail(ErrorCode::kCorrupt, "restoring devices: the board has another number of slots");
  }
  transports_.resize(isa::kSlotCount);
  for (std::uint32_t slot = 0; slot < isa::kSlotCount; ++slot) {
    SPORE_ASSIGN(auto device, make_device(slot, state));
    bus::IoHandler* handler = nullptr;
    if (device) {
      const auto slot_state =
          state.slots.empty() ? virtio::MmioTransportState{} : state.slots[slot];
      SPORE_ASSIGN(transports_[slot], virtio::MmioTransport::create(
                                          std::move(device), memory,
                                          platform_->line(isa::kGsiFirstSlot + slot), slot_state));
      handler = transports_[slot].get();
    } else {
      handler = empty_slots_.emplace_back(std::make_unique<virtio::EmptyMmioSlot>()).get();
    }
    mmio_.add({isa::kSlotBase + slot * isa::kSlotSize, isa::kSlotSize, handler});
  }
  if (!vsock_->connections().empty()) {
    agent_ = {vsock_->connections().front()};
  }
  return {};
}

Result<std::unique_ptr<virtio::VirtioDevice>> DeviceSet::make_device(std::uint32_t slot,
                                                                     const DeviceSetState& state) {
  std::unique_ptr<virtio::VirtioDevice> device;
  if (slot == isa::kSlotConsole) {
    device = std::make_unique<virtio::ConsoleDevice>(options_.console, virtio::ConsoleState{});
  } else if (slot == isa::kSlotRng) {
    device = std::make_unique<virtio::RngDevice>(fill_with_entropy, virtio::RngState{});
  } else if (slot == isa::kSlotVsock) {
    virtio::VsockOptions vsock_options;
    vsock_options.listeners[wire::kAgentPort] = this;
    SPORE_ASSIGN(auto vsock, virtio::VsockDevice::create(std::move(vsock_options), state.vsock));
    vsock_ = vsock.get();
    device = std::move(vsock);
  } else if (slot - isa::kSlotFirstBlock < options_.disks.size()) {
    device = std::make_unique<virtio::BlockDevice>(options_.disks[slot - isa::kSlotFirstBlock],
                                                   "spore-root", virtio::BlockState{});
  }
  return device;
}

void DeviceSet::resume() {
  for (const auto& transport : transports_) {
    if (transport) {
      transport->resume();
    }
  }
}

void DeviceSet::notify_generation() {
  generation_line_->trigger();
}

void DeviceSet::send_to_agent(std::string_view bytes) {
  if (agent_.empty()) {
    unsent_.append(bytes);
  } else {
    vsock_->send(agent_.front(), bytes);
  }
}

DeviceSetState DeviceSet::state() const {
  DeviceSetState state;
  state.platform = platform_->state();
  for (const auto& transport : transports_) {
    state.slots.push_back(transport ? transport->state() : virtio::MmioTransportState{});
  }
  state.vsock = vsock_->state();
  state.generation = generation_->state();
  return state;
}

void DeviceSet::on_connected(virtio::ConnectionId id) {
  if (!agent_.empty()) {
    vsock_->close(id);  // only PID 1 speaks for a machine, and it connects first
    return;
  }
  agent_ = {id};
  if (!unsent_.empty()) {
    vsock_->send(id, std::exchange(unsent_, {}));
  }
}

void DeviceSet::on_bytes(virtio::ConnectionId id, std::string_view bytes) {
  if (!agent_.empty() && agent_.front() == id) {
    options_.agent_bytes(bytes);
  }
}

void DeviceSet::on_closed(virtio::ConnectionId id) {
  if (!agent_.empty() && agent_.front() == id) {
    agent_.clear();
    options_.agent_closed();
  }
}

}  // namespace spore::vm
