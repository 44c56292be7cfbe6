#include "virtio/console.h"

#include <algorithm>
#include <array>
#include <utility>

#include "virtio/mmio_registers.h"

namespace spore::virtio {
namespace {

constexpr std::array<std::uint16_t, 2> kQueueSizes = {64, 64};
constexpr std::uint16_t kTransmitQueue = 1;  // 5.3.2

}  // namespace

void to_json(nlohmann::json& json, const ConsoleState& state) {
  static_cast<void>(state);
  json = nlohmann::json::object();
}

void from_json(const nlohmann::json& json, ConsoleState& state) {
  static_cast<void>(json);
  state = {};
}

ConsoleDevice::ConsoleDevice(Sink sink, const ConsoleState& state) : sink_(std::move(sink)) {
  static_cast<void>(state);
}

std::uint32_t ConsoleDevice::id() const noexcept {
  return kDeviceIdConsole;
}

std::span<const std::uint16_t> ConsoleDevice::queue_sizes() const noexcept {
  return kQueueSizes;
}

void ConsoleDevice::activate(std::uint64_t features, std::span<VirtQueue> queues) {
  static_cast<void>(features);
  queues_ = queues;
}

void ConsoleDevice::on_notify(std::uint16_t queue) {
  if (queue != kTransmitQueue) {
    return;
  }
  queues_[kTransmitQueue].drain([this](DescriptorChain& chain) {
    buffer_.resize(std::min<std::uint64_t>(chain.readable_bytes(), kMaxChainBytes));
    buffer_.resize(chain.read(std::as_writable_bytes(std::span(buffer_))));
    chain.complete();
    if (!buffer_.empty()) {
      sink_(buffer_);
    }
  });
}

void ConsoleDevice::on_reset() {
  queues_ = {};
}

}  // namespace spore::virtio
