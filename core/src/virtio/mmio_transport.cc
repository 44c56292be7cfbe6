#include "virtio/mmio_transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace spore::virtio {
namespace {

std::uint64_t with_low(std::uint64_t value, std::uint32_t low) {
  return (value & 0xffffffff00000000) | low;
}
std::uint64_t with_high(std::uint64_t value, std::uint32_t high) {
  return (value & 0xffffffff) | std::uint64_t{high} << 32;
}
std::uint32_t half(std::uint64_t value, std::uint32_t selector) {
  return selector > 1 ? 0 : static_cast<std::uint32_t>(selector == 0 ? value : value >> 32);
}

void store_value(std::span<std::byte> data, std::uint32_t value) {
  std::fill(data.begin(), data.end(), std::byte{0});
  if (data.size() == sizeof(value)) {
    std::memcpy(data.data(), &value, sizeof(value));
  }
}

tl::unexpected<Error> corrupt(const VirtioDevice& device, std::string_view what) {
  return fail(
      ErrorCode::kCorrupt,
      fmt::format("restoring the virtio device \"{}\": {}; the spore is damaged, or made by "
                  "another version: capture it again",
                  device.name(), what));
}

}  // namespace

Result<std::unique_ptr<MmioTransport>> MmioTransport::create(
    std::unique_ptr<VirtioDevice> device, const memory::GuestMemory& memory,
    std::unique_ptr<bus::InterruptLine> interrupt, const MmioTransportState& state) {
  SPORE_CHECK(device != nullptr && interrupt != nullptr);
  SPORE_TRY(validate(state, *device, memory));
  return std::unique_ptr<MmioTransport>(
      new MmioTransport(std::move(device), memory, std::move(interrupt), state));
}

MmioTransport::MmioTransport(std::unique_ptr<VirtioDevice> device,
                             const memory::GuestMemory& memory,
                             std::unique_ptr<bus::InterruptLine> interrupt,
                             MmioTransportState state)
    : device_(std::move(device)),
      memory_(memory),
      interrupt_(std::move(interrupt)),
      state_(std::move(state)) {
  const auto sizes = device_->queue_sizes();
  state_.device_id = device_->id();
  state_.queues.resize(sizes.size());
  queues_.reserve(sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    queues_.emplace_back(state_.queues[i], memory_, static_cast<QueueOwner&>(*this), sizes[i]);
  }
  if ((state_.status & kStatusDriverOk) != 0) {
    activate();
  }
}

Result<void> MmioTransport::validate(const MmioTransportState& state, const VirtioDevice& device,
                                     const memory::GuestMemory& memory) {
  if (state == MmioTransportState{}) {
    return {};
  }
  const auto sizes = device.queue_sizes();
  const bool features_ok = (state.status & kStatusFeaturesOk) != 0;
  if (state.device_id != device.id()) {
    return corrupt(device, fmt::format("device_id is {}, not {}", state.device_id, device.id()));
  }
  if ((state.status & ~kStatusKnown) != 0 ||
      ((state.status & kStatusDriverOk) != 0 && !features_ok)) {
    return corrupt(device, fmt::format("status is {:#x}, which cannot be", state.status));
  }
  if ((state.interrupt_status & ~(kInterruptUsedBuffer | kInterruptConfigChange)) != 0) {
    return corrupt(
        device, fmt::format("interrupt_status is {:#x}, which cannot be", state.interrupt_status));
  }
  if (features_ok && !acceptable(state.driver_features, device)) {
    return corrupt(device, fmt::format("driver_features is {:#x}, but {:#x} is offered",
                                       state.driver_features, offered(device)));
  }
  if (state.queues.size() != sizes.size()) {
    return corrupt(device,
                   fmt::format("queues has {} entries, not {}", state.queues.size(), sizes.size()));
  }
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const QueueState& queue = state.queues[i];
    if (!queue.ready) {
      continue;
    }
    if (!features_ok) {
      return corrupt(device, fmt::format("queues[{}] is ready before the features are", i));
    }
    if (const auto valid = VirtQueue::validate(queue, sizes[i], memory); !valid) {
      return corrupt(device, fmt::format("queues[{}].{}", i, valid.error().message()));
    }
  }
  return {};
}

std::uint64_t MmioTransport::offered(const VirtioDevice& device) noexcept {
  return device.features() | kFeatureVersion1 | kFeatureEventIdx;
}

bool MmioTransport::acceptable(std::uint64_t driver_features, const VirtioDevice& device) noexcept {
  return (driver_features & ~offered(device)) == 0 && (driver_features & kFeatureVersion1) != 0;
}

std::uint64_t MmioTransport::dropped_chains() const noexcept {
  std::uint64_t sum = 0;
  for (const VirtQueue& queue : queues_) {
    sum += queue.dropped_chains();
  }
  return sum;
}

// ---- register access --------------------------------------------------------------------------

// 4.2.2.2: registers are 32 bits wide, and only accessed as such; the configuration space is not.
void MmioTransport::read(std::uint64_t offset, std::span<std::byte> data) {
  if (offset >= kConfig) {
    device_->read_config(offset - kConfig, data);
    return;
  }
  store_value(data, data.size() == 4 ? read_register(offset) : 0);
}

void MmioTransport::write(std::uint64_t offset, std::span<const std::byte> data) {
  if (offset >= kConfig || data.size() != 4) {
    return;  // no device here has a writable configuration field
  }
  std::uint32_t value = 0;
  std::memcpy(&value, data.data(), sizeof(value));
  write_register(offset, value);
}

std::uint32_t MmioTransport::read_register(std::uint64_t offset) const {
  const std::size_t queue = state_.queue_sel;
  switch (offset) {
    case kMagicValue:
      return kMmioMagic;
    case kVersion:
      return kMmioVersion;
    case kDeviceId:
      return device_->id();
    case kVendorId:
      return kMmioVendor;
    case kDeviceFeatures:
      return half(offered(*device_), state_.device_features_sel);
    case kQueueNumMax:
      return queue < queues_.size() ? queues_[queue].max_size() : 0;
    case kQueueReady:
      return queue < queues_.size() && state_.queues[queue].ready ? 1 : 0;
    case kInterruptStatus:
      return state_.interrupt_status;
    case kStatus:
      return state_.status;
    case kConfigGeneration:
      return state_.config_generation;
    case kShmLenLow:
    case kShmLenHigh:
    case kShmBaseLow:
    case kShmBaseHigh:
      return 0xffffffff;  // 4.2.2: no such region
    default:
      return 0;
  }
}

void MmioTransport::write_register(std::uint64_t offset, std::uint32_t value) {
  switch (offset) {
    case kQueueNotify:
      return notify(value);
    case kInterruptAck:
      return acknowledge_interrupt(value);
    case kDeviceFeaturesSel:
      state_.device_features_sel = value;
      return;
    case kDriverFeaturesSel:
      state_.driver_features_sel = value;
      return;
    case kDriverFeatures:
      if ((state_.status & kStatusFeaturesOk) == 0 && state_.driver_features_sel <= 1) {
        state_.driver_features = state_.driver_features_sel == 0
                                     ? with_low(state_.driver_features, value)
                                     : with_high(state_.driver_features, value);
      }
      return;
    case kQueueSel:
      state_.queue_sel = value;
      return;
    case kStatus:
      return write_status(value);
    case kQueueReady:
      return write_queue_ready(value);
    default:
      return write_queue_register(offset, value);
  }
}

void MmioTransport::write_queue_register(std::uint64_t offset, std::uint32_t value) {
  if (state_.queue_sel >= state_.queues.size() || state_.queues[state_.queue_sel].ready) {
    return;
  }
  QueueState& queue = state_.queues[state_.queue_sel];
  switch (offset) {
    case kQueueNum:
      queue.size = value;
      return;
    case kQueueDescLow:
      queue.descriptors = with_low(queue.descriptors, value);
      return;
    case kQueueDescHigh:
      queue.descriptors = with_high(queue.descriptors, value);
      return;
    case kQueueDriverLow:
      queue.available = with_low(queue.available, value);
      return;
    case kQueueDriverHigh:
      queue.available = with_high(queue.available, value);
      return;
    case kQueueDeviceLow:
      queue.used = with_low(queue.used, value);
      return;
    case kQueueDeviceHigh:
      queue.used = with_high(queue.used, value);
      return;
    default:
      return;
  }
}

// A queue that the driver set up wrongly does not become ready; the driver can read that back.
void MmioTransport::write_queue_ready(std::uint32_t value) {
  if (state_.queue_sel >= queues_.size()) {
    return;
  }
  QueueState& queue = state_.queues[state_.queue_sel];
  VirtQueue& rings = queues_[state_.queue_sel];
  if (value == 0) {
    queue.ready = false;
    rings.detach();
    return;
  }
  const bool may_change = (state_.status & kStatusFeaturesOk) != 0 &&
                          (state_.status & kStatusDriverOk) == 0 && !queue.ready;
  if (value == 1 && may_change && VirtQueue::validate(queue, rings.max_size(), memory_)) {
    queue.ready = true;
    queue.next_available = 0;
    queue.next_used = 0;
    queue.signalled = 0;
    queue.unfinished = false;
  }
}

// ---- what the driver asks for -----------------------------------------------------------------

// 2.1.1: the driver sets bits one after the other; only a reset clears them.
void MmioTransport::write_status(std::uint32_t value) {
  if (value == 0) {
    return reset();
  }
  const std::uint32_t own = state_.status & kStatusNeedsReset;
  const std::uint32_t before = state_.status & ~kStatusNeedsReset;
  value &= kStatusKnown & ~kStatusNeedsReset;
  if ((before & ~value) != 0) {
    return;
  }
  if ((before & kStatusFeaturesOk) == 0 && (value & kStatusFeaturesOk) != 0 &&
      !acceptable(state_.driver_features, *device_)) {
    value &= ~(kStatusFeaturesOk | kStatusDriverOk);  // 3.1.1: the driver reads it back
  }
  if ((value & kStatusFeaturesOk) == 0) {
    value &= ~kStatusDriverOk;
  }
  state_.status = value | own;
  if ((before & kStatusDriverOk) == 0 && (value & kStatusDriverOk) != 0) {
    activate();
  }
}

void MmioTransport::activate() {
  if ((state_.status & kStatusNeedsReset) == 0) {
    for (std::size_t i = 0; i < queues_.size(); ++i) {
      if (state_.queues[i].ready) {
        queues_[i].attach((state_.driver_features & kFeatureEventIdx) != 0);
      }
    }
  }
  device_->activate(state_.driver_features, queues_);
}

void MmioTransport::reset() {
  if ((state_.status & kStatusDriverOk) != 0) {
    device_->on_reset();
  }
  for (VirtQueue& queue : queues_) {
    queue.detach();
  }
  std::fill(state_.queues.begin(), state_.queues.end(), QueueState{});
  MmioTransportState fresh;
  fresh.device_id = state_.device_id;
  fresh.queues =
      std::move(state_.queues);  // moved, not copied: the VirtQueues refer to its entries
  state_ = std::move(fresh);
}

void MmioTransport::notify(std::uint32_t queue) {
  if (queue < queues_.size() && queues_[queue].attached()) {
    state_.queues[queue].unfinished = false;
    device_->on_notify(static_cast<std::uint16_t>(queue));
  }
}

void MmioTransport::acknowledge_interrupt(std::uint32_t value) {
  state_.interrupt_status &= ~value;
  for (std::uint32_t i = 0; i < queues_.size(); ++i) {
    if (state_.queues[i].unfinished) {
      notify(i);
    }
  }
}

void MmioTransport::resume() {
  if (state_.interrupt_status != 0) {
    interrupt_->trigger();
  }
  if ((state_.status & kStatusDriverOk) != 0) {
    device_->on_resume();
  }
}

void MmioTransport::on_used_buffer() {
  state_.interrupt_status |= kInterruptUsedBuffer;
  interrupt_->trigger();
}

void MmioTransport::on_broken_ring() {
  for (VirtQueue& queue : queues_) {
    queue.detach();
  }
  state_.status |= kStatusNeedsReset;
  state_.interrupt_status |= kInterruptConfigChange;  // 2.1.2
  interrupt_->trigger();
}

// ---- EmptyMmioSlot ----------------------------------------------------------------------------

void EmptyMmioSlot::read(std::uint64_t offset, std::span<std::byte> data) {
  std::uint32_t value = 0;
  if (offset == kMagicValue) {
    value = kMmioMagic;
  } else if (offset == kVersion) {
    value = kMmioVersion;
  }
  store_value(data, value);
}

void EmptyMmioSlot::write(std::uint64_t offset, std::span<const std::byte> data) {
  static_cast<void>(offset);
  static_cast<void>(data);
}

}  // namespace spore::virtio
