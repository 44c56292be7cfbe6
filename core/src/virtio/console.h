// ConsoleDevice: a virtio console that only prints (Virtio 1.2, section 5.3; no features, one
// port). What the guest writes is hostile bytes for an injected sink; the receive queue is never
// used.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "virtio/device.h"

namespace spore::virtio {

// Everything that must survive is in the transport.
struct ConsoleState {
  bool operator==(const ConsoleState&) const = default;
};
void to_json(nlohmann::json& json, const ConsoleState& state);
void from_json(const nlohmann::json& json, ConsoleState& state);

class ConsoleDevice final : public VirtioDevice {
 public:
  // Gets output as it comes, with the device lock held.
  using Sink = std::function<void(std::string_view)>;
  static constexpr std::size_t kMaxChainBytes = 64 * 1024;  // of one chain; the rest is dropped

  ConsoleDevice(Sink sink, const ConsoleState& state);
  [[nodiscard]] ConsoleState state() const { return {}; }

  [[nodiscard]] std::string_view name() const noexcept override { return "console"; }
  [[nodiscard]] std::uint32_t id() const noexcept override;
  [[nodiscard]] std::uint64_t features() const noexcept override { return 0; }
  [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const noexcept override;
  void activate(std::uint64_t features, std::span<VirtQueue> queues) override;
  void on_notify(std::uint16_t queue) override;
  void on_reset() override;

 private:
  Sink sink_;
  std::span<VirtQueue> queues_;
  std::string buffer_;
};

}  // namespace spore::virtio
