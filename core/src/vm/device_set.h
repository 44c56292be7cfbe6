// DeviceSet: all devices of one machine on their buses. The list of what a machine has is here,
// once: a new virtio device is one line in kSlots' table and one factory (device_set.cc).
//
// Not thread-safe: everything comes with the machine's device lock held.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "bus/bus.h"
#include "devices/generation.h"
#include "isa/platform.h"
#include "memory/guest_memory.h"
#include "spore/result.h"
#include "virtio/block_backend.h"
#include "virtio/mmio_transport.h"
#include "virtio/vsock.h"

namespace spore::vm {

// The default is a machine that was never started.
struct DeviceSetState {
  isa::PlatformState platform;
  std::vector<virtio::MmioTransportState> slots;  // by slot number; none in the default state
  virtio::VsockState vsock;
  devices::GenerationState generation;
  bool operator==(const DeviceSetState&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeviceSetState, platform, slots, vsock, generation)

struct DeviceSetOptions {
  std::vector<std::shared_ptr<virtio::BlockBackend>> disks;  // root images
  std::function<void(std::string_view)> console;
  std::function<void(std::uint64_t address, std::uint32_t data)> msi;
  devices::GenerationDevice::Doorbell doorbell;
  std::function<void(std::string_view)> agent_bytes;  // from the guest's agent
  std::function<void()> agent_closed;                 // its stream ended
};

class DeviceSet final : private virtio::VsockListener {
 public:
  static Result<std::unique_ptr<DeviceSet>> create(DeviceSetOptions options,
                                                   const memory::GuestMemory& memory,
                                                   const DeviceSetState& state);

  bus::Bus& mmio() noexcept { return mmio_; }
  bus::Bus& ports() noexcept { return ports_; }

  // After a restore, before the vCPUs run.
  void resume();
  // Tells the guest's kernel that the generation changed.
  void notify_generation();
  // Keeps the bytes until the agent has connected.
  void send_to_agent(std::string_view bytes);
  [[nodiscard]] DeviceSetState state() const;

 private:
  explicit DeviceSet(DeviceSetOptions options) : options_(std::move(options)) {}
  Result<void> add_slots(const memory::GuestMemory& memory, const DeviceSetState& state);
  Result<std::unique_ptr<virtio::VirtioDevice>> make_device(std::uint32_t slot,
                                                            const DeviceSetState& state);
  void on_connected(virtio::ConnectionId id) override;
  void on_bytes(virtio::ConnectionId id, std::string_view bytes) override;
  void on_closed(virtio::ConnectionId id) override;

  DeviceSetOptions options_;
  bus::Bus mmio_;
  bus::Bus ports_;
  std::unique_ptr<isa::Platform> platform_;
  std::unique_ptr<devices::GenerationDevice> generation_;
  std::unique_ptr<bus::InterruptLine> generation_line_;
  std::vector<std::unique_ptr<virtio::MmioTransport>>
      transports_;  // by slot; null for an empty one
  std::vector<std::unique_ptr<virtio::EmptyMmioSlot>> empty_slots_;
  virtio::VsockDevice* vsock_ = nullptr;     // owned by its transport
  std::vector<virtio::ConnectionId> agent_;  // the agent's stream: none, or one
  std::string unsent_;
};

}  // namespace spore::vm
