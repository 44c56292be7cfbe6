// RngDevice: a virtio entropy device (Virtio 1.2, section 5.4) with an injected source.
#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "virtio/device.h"

namespace spore::virtio {

// Everything that must survive is in the transport.
struct RngState {
  bool operator==(const RngState&) const = default;
};
void to_json(nlohmann::json& json, const RngState& state);
void from_json(const nlohmann::json& json, RngState& state);

class RngDevice final : public VirtioDevice {
 public:
  // Fills all of its argument.
  using EntropySource = std::function<void(std::span<std::byte>)>;
  static constexpr std::size_t kMaxChainBytes = 4096;  // of one request; the driver asks again

  RngDevice(EntropySource source, const RngState& state);
  [[nodiscard]] RngState state() const { return {}; }

  [[nodiscard]] std::string_view name() const noexcept override { return "rng"; }
  [[nodiscard]] std::uint32_t id() const noexcept override;
  [[nodiscard]] std::uint64_t features() const noexcept override { return 0; }
  [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const noexcept override;
  void activate(std::uint64_t features, std::span<VirtQueue> queues) override;
  void on_notify(std::uint16_t queue) override;
  void on_reset() override;

 private:
  EntropySource source_;
  std::span<VirtQueue> queues_;
  std::vector<std::span<std::byte>> pieces_;
};

}  // namespace spore::virtio
