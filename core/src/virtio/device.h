// VirtioDevice: what a device is to its transport. It knows neither its address nor its interrupt;
// it sees queues, a configuration space and its own host end, which is injected.
//
// Every call comes with the machine's device lock held, and so must every call that the host makes
// of a device (VsockDevice::send, state(), ...).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "virtio/queue.h"

namespace spore::virtio {

class VirtioDevice {
 public:
  virtual ~VirtioDevice() = default;
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  [[nodiscard]] virtual std::uint32_t id() const noexcept = 0;
  // The device's own feature bits; the transport adds its own.
  [[nodiscard]] virtual std::uint64_t features() const noexcept = 0;
  // The largest size of each queue, a power of two; their number is the number of queues.
  [[nodiscard]] virtual std::span<const std::uint16_t> queue_sizes() const noexcept = 0;

  // The configuration space. `offset` is the guest's; bytes past the end read as zero.
  virtual void read_config(std::uint64_t offset, std::span<std::byte> data) const {
    static_cast<void>(offset);
    std::fill(data.begin(), data.end(), std::byte{0});
  }

  // The driver is ready (or was, in a restored state). `queues` lives until on_reset() or the end
  // of the device. The guest does not run yet when this is part of a restore: nothing is sent from
  // here.
  virtual void activate(std::uint64_t features, std::span<VirtQueue> queues) = 0;
  // The driver made buffers available. Only after activate().
  virtual void on_notify(std::uint16_t queue) = 0;
  // The machine goes on after a restore: interrupts work again. Only after activate().
  virtual void on_resume() {}
  virtual void on_reset() = 0;
};

// For read_config(): the bytes of a packed configuration structure.
template <typename Config>
void read_config_struct(const Config& config, std::uint64_t offset, std::span<std::byte> data) {
  const auto bytes = std::as_bytes(std::span(&config, 1));
  std::fill(data.begin(), data.end(), std::byte{0});
  if (offset < bytes.size()) {
    const auto rest = bytes.subspan(offset);
    std::copy_n(rest.begin(), std::min(rest.size(), data.size()), data.begin());
  }
}

}  // namespace spore::virtio
