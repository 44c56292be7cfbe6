// BlockDevice: a virtio block device (Virtio 1.2, section 5.2): IN, OUT, FLUSH, GET_ID. Requests
// are hostile: one that reaches past the end, or is larger than the limits the device announces,
// fails with IOERR, and nothing else happens. Requests are done in the vCPU thread that notifies.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "virtio/block_backend.h"
#include "virtio/block_registers.h"
#include "virtio/device.h"

namespace spore::virtio {

// Everything that must survive is in the transport: no request is under way between two exits.
struct BlockState {
  bool operator==(const BlockState&) const = default;
};
void to_json(nlohmann::json& json, const BlockState& state);
void from_json(const nlohmann::json& json, BlockState& state);

class BlockDevice final : public VirtioDevice {
 public:
  static constexpr std::uint32_t kSizeMax = 64 * 1024;
  static constexpr std::uint32_t kSegMax = 126;
  static constexpr std::uint64_t kMaxRequestBytes = std::uint64_t{kSizeMax} * kSegMax;

  // `serial` is what GET_ID answers, cut at 20 bytes.
  BlockDevice(std::shared_ptr<BlockBackend> backend, std::string serial, const BlockState& state);
  [[nodiscard]] BlockState state() const { return {}; }
  // Requests that the backend failed: the guest saw IOERR.
  [[nodiscard]] std::uint64_t backend_errors() const noexcept { return backend_errors_; }

  [[nodiscard]] std::string_view name() const noexcept override { return "block"; }
  [[nodiscard]] std::uint32_t id() const noexcept override;
  [[nodiscard]] std::uint64_t features() const noexcept override;
  [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const noexcept override;
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void activate(std::uint64_t features, std::span<VirtQueue> queues) override;
  void on_notify(std::uint16_t queue) override;
  void on_reset() override;

 private:
  void handle(DescriptorChain& chain);
  [[nodiscard]] std::uint8_t execute(DescriptorChain& chain);
  [[nodiscard]] std::uint8_t transfer(DescriptorChain& chain, const BlockRequestHeader& header);
  [[nodiscard]] std::uint8_t get_id(DescriptorChain& chain) const;
  [[nodiscard]] std::uint8_t outcome(const Result<void>& result);

  const std::shared_ptr<BlockBackend> backend_;
  std::string serial_;
  std::span<VirtQueue> queues_;
  std::vector<std::span<std::byte>> pieces_;
  std::uint64_t backend_errors_ = 0;
};

}  // namespace spore::virtio
