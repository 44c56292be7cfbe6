// MmioTransport: one virtio device on the bus (Virtio 1.2, section 4.2, modern only), and the only
// owner of what the driver configures: status, features, queues, interrupt status. Every register
// access is the guest's and hostile; a write that makes no sense changes nothing.
//
// Offers VIRTIO_F_VERSION_1 (required of the driver) and VIRTIO_F_EVENT_IDX. Split queues, no
// indirect descriptors.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "bus/interrupt.h"
#include "bus/io_handler.h"
#include "memory/guest_memory.h"
#include "spore/result.h"
#include "virtio/device.h"
#include "virtio/mmio_registers.h"
#include "virtio/queue.h"

namespace spore::virtio {

// A fresh boot is the default state.
struct MmioTransportState {
  std::uint32_t device_id = 0;  // 0 in the default state; else it must be the device's
  std::uint32_t status = 0;
  std::uint32_t interrupt_status = 0;
  std::uint32_t config_generation = 0;
  std::uint32_t device_features_sel = 0;
  std::uint32_t driver_features_sel = 0;
  std::uint64_t driver_features = 0;
  std::uint32_t queue_sel = 0;
  std::vector<QueueState> queues;  // one per queue of the device, or none in the default state
  bool operator==(const MmioTransportState&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MmioTransportState, device_id, status, interrupt_status,
                                   config_generation, device_features_sel, driver_features_sel,
                                   driver_features, queue_sel, queues)

class MmioTransport final : public bus::IoHandler, private QueueOwner {
 public:
  // `memory` outlives the transport. kCorrupt names the field of `state` that cannot be.
  static Result<std::unique_ptr<MmioTransport>> create(
      std::unique_ptr<VirtioDevice> device, const memory::GuestMemory& memory,
      std::unique_ptr<bus::InterruptLine> interrupt, const MmioTransportState& state);

  // To be called once after a restore, when the interrupt controller has its state and before the
  // vCPUs run: raises again an interrupt that the driver has not acknowledged, and lets the device
  // send what the restore itself calls for.
  void resume();

  [[nodiscard]] MmioTransportState state() const { return state_; }
  [[nodiscard]] const VirtioDevice& device() const noexcept { return *device_; }
  [[nodiscard]] std::uint64_t dropped_chains() const noexcept;

  [[nodiscard]] std::string_view name() const noexcept override { return device_->name(); }
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  MmioTransport(std::unique_ptr<VirtioDevice> device, const memory::GuestMemory& memory,
                std::unique_ptr<bus::InterruptLine> interrupt, MmioTransportState state);

  static Result<void> validate(const MmioTransportState& state, const VirtioDevice& device,
                               const memory::GuestMemory& memory);
  [[nodiscard]] static std::uint64_t offered(const VirtioDevice& device) noexcept;
  [[nodiscard]] static bool acceptable(std::uint64_t driver_features,
                                       const VirtioDevice& device) noexcept;

  [[nodiscard]] std::uint32_t read_register(std::uint64_t offset) const;
  void write_register(std::uint64_t offset, std::uint32_t value);
  void write_queue_register(std::uint64_t offset, std::uint32_t value);
  void write_queue_ready(std::uint32_t value);
  void write_status(std::uint32_t value);
  void notify(std::uint32_t queue);
  void acknowledge_interrupt(std::uint32_t value);
  void activate();
  void reset();

  void on_used_buffer() override;
  void on_broken_ring() override;

  const std::unique_ptr<VirtioDevice> device_;
  const memory::GuestMemory& memory_;
  const std::unique_ptr<bus::InterruptLine> interrupt_;
  MmioTransportState state_;       // queues: never resized, the VirtQueues refer to them
  std::vector<VirtQueue> queues_;  // one per entry of state_.queues
};

// A slot of the board without a device: a driver sees device id 0 and leaves it alone (4.2.3.1.1).
class EmptyMmioSlot final : public bus::IoHandler {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "empty virtio slot"; }
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;
};

}  // namespace spore::virtio
