#include "virtio/rng.h"

#include <array>
#include <utility>

#include "virtio/mmio_registers.h"

namespace spore::virtio {
namespace {

constexpr std::array<std::uint16_t, 1> kQueueSizes = {16};

}  // namespace

void to_json(nlohmann::json& json, const RngState& state) {
  static_cast<void>(state);
  json = nlohmann::json::object();
}

void from_json(const nlohmann::json& json, RngState& state) {
  static_cast<void>(json);
  state = {};
}

RngDevice::RngDevice(EntropySource source, const RngState& state) : source_(std::move(source)) {
  static_cast<void>(state);
}

std::uint32_t RngDevice::id() const noexcept {
  return kDeviceIdEntropy;
}

std::span<const std::uint16_t> RngDevice::queue_sizes() const noexcept {
  return kQueueSizes;
}

void RngDevice::activate(std::uint64_t features, std::span<VirtQueue> queues) {
  static_cast<void>(features);
  queues_ = queues;
}

void RngDevice::on_notify(std::uint16_t queue) {
  queues_[queue].drain([this](DescriptorChain& chain) {
    pieces_.clear();
    chain.take_writable(kMaxChainBytes, pieces_);
    for (const auto piece : pieces_) {
      source_(piece);
    }
  });
}

void RngDevice::on_reset() {
  queues_ = {};
}

}  // namespace spore::virtio
