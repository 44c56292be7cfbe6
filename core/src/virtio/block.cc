#include "virtio/block.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "virtio/mmio_registers.h"

namespace spore::virtio {
namespace {

constexpr std::array<std::uint16_t, 1> kQueueSizes = {256};

}  // namespace

void to_json(nlohmann::json& json, const BlockState& state) {
  static_cast<void>(state);
  json = nlohmann::json::object();
}

void from_json(const nlohmann::json& json, BlockState& state) {
  static_cast<void>(json);
  state = {};
}

BlockDevice::BlockDevice(std::shared_ptr<BlockBackend> backend, std::string serial,
                         const BlockState& state)
    : backend_(std::move(backend)), serial_(std::move(serial)) {
  SPORE_CHECK(backend_ != nullptr && backend_->size_bytes() % kSectorSize == 0);
  static_cast<void>(state);
}

std::uint32_t BlockDevice::id() const noexcept {
  return kDeviceIdBlock;
}

std::uint64_t BlockDevice::features() const noexcept {
  return kBlockFeatureSizeMax | kBlockFeatureSegMax |
         (backend_->writable() ? kBlockFeatureFlush : kBlockFeatureReadOnly);
}

std::span<const std::uint16_t> BlockDevice::queue_sizes() const noexcept {
  return kQueueSizes;
}

void BlockDevice::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  const BlockConfigSpace config{backend_->size_bytes() / kSectorSize, kSizeMax, kSegMax};
  read_config_struct(config, offset, data);
}

void BlockDevice::activate(std::uint64_t features, std::span<VirtQueue> queues) {
  static_cast<void>(features);
  queues_ = queues;
}

void BlockDevice::on_notify(std::uint16_t queue) {
  queues_[queue].drain([this](DescriptorChain& chain) { handle(chain); });
}

void BlockDevice::on_reset() {
  queues_ = {};
}

// A request is a header, data of either direction, and one last writable byte for the status
// (5.2.6). Without that byte there is nowhere to answer.
void BlockDevice::handle(DescriptorChain& chain) {
  if (chain.writable_bytes() == 0) {
    return;
  }
  const auto status = static_cast<std::byte>(execute(chain));
  if (chain.writable_bytes() > 1) {  // a failed read: the status comes after what was not read
    pieces_.clear();
    chain.take_writable(chain.writable_bytes() - 1, pieces_);
  }
  chain.write(std::span(&status, 1));
}

std::uint8_t BlockDevice::execute(DescriptorChain& chain) {
  BlockRequestHeader header;
  if (chain.read(std::as_writable_bytes(std::span(&header, 1))) != sizeof(header)) {
    return kBlockIoError;
  }
  switch (header.type) {
    case kBlockIn:
    case kBlockOut:
      return transfer(chain, header);
    case kBlockFlush:
      return backend_->writable() ? outcome(backend_->flush()) : std::uint8_t{kBlockOk};
    case kBlockGetId:
      return get_id(chain);
    default:
      return kBlockUnsupported;
  }
}

std::uint8_t BlockDevice::transfer(DescriptorChain& chain, const BlockRequestHeader& header) {
  const bool reading = header.type == kBlockIn;
  const std::uint64_t size = reading ? chain.writable_bytes() - 1 : chain.readable_bytes();
  const std::uint64_t sectors = backend_->size_bytes() / kSectorSize;
  if (size % kSectorSize != 0 || size > kMaxRequestBytes || header.sector > sectors ||
      size / kSectorSize > sectors - header.sector || (!reading && !backend_->writable())) {
    return kBlockIoError;
  }
  pieces_.clear();
  const std::uint64_t offset = header.sector * kSectorSize;
  if (reading) {
    chain.take_writable(size, pieces_);
    return outcome(backend_->read(offset, pieces_));
  }
  chain.take_readable(size, pieces_);
  return outcome(backend_->write(offset, pieces_));
}

std::uint8_t BlockDevice::get_id(DescriptorChain& chain) const {
  if (chain.writable_bytes() < kBlockIdSize + 1) {
    return kBlockIoError;
  }
  std::array<char, kBlockIdSize> id{};
  std::copy_n(serial_.begin(), std::min(serial_.size(), id.size()), id.begin());
  chain.write(std::as_bytes(std::span(id)));
  return kBlockOk;
}

std::uint8_t BlockDevice::outcome(const Result<void>& result) {
  if (!result) {
    ++backend_errors_;
    return kBlockIoError;
  }
  return kBlockOk;
}

}  // namespace spore::virtio
