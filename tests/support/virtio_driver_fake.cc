#include "support/virtio_driver_fake.h"

#include "base/check.h"

namespace spore::testing {

using namespace virtio;  // NOLINT: register names

template <typename T>
void VirtioDriverFake::store(std::uint64_t address, T value) {
  SPORE_CHECK(ram_->memory().store(address, value));
}

template <typename T>
T VirtioDriverFake::load(std::uint64_t address) {
  const auto value = ram_->memory().load<T>(address);
  SPORE_CHECK(value);
  return *value;
}

std::uint32_t VirtioDriverFake::read(std::uint64_t offset) {
  std::uint32_t value = 0;
  transport_->read(offset, std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

void VirtioDriverFake::write(std::uint64_t offset, std::uint32_t value) {
  transport_->write(offset, std::as_bytes(std::span(&value, 1)));
}

std::uint64_t VirtioDriverFake::offered_features() {
  write(kDeviceFeaturesSel, 0);
  const std::uint64_t low = read(kDeviceFeatures);
  write(kDeviceFeaturesSel, 1);
  return low | std::uint64_t{read(kDeviceFeatures)} << 32;
}

bool VirtioDriverFake::negotiate(std::uint64_t features) {
  write(kStatus, 0);
  queues_.clear();
  write(kStatus, kStatusAcknowledge);
  write(kStatus, kStatusAcknowledge | kStatusDriver);
  write(kDriverFeaturesSel, 0);
  write(kDriverFeatures, static_cast<std::uint32_t>(features));
  write(kDriverFeaturesSel, 1);
  write(kDriverFeatures, static_cast<std::uint32_t>(features >> 32));
  write(kStatus, kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk);
  return (read(kStatus) & kStatusFeaturesOk) != 0;
}

bool VirtioDriverFake::set_up_queue(std::uint16_t index, std::uint16_t size) {
  write(kQueueSel, index);
  const auto largest = static_cast<std::uint16_t>(read(kQueueNumMax));
  if (largest == 0) {
    return false;
  }
  Queue queue;
  queue.size = size == 0 ? largest : size;
  queue.descriptors = allocate(descriptor_table_size(queue.size), kDescriptorAlignment);
  queue.available = allocate(avail_ring_size(queue.size), kAvailAlignment);
  queue.used = allocate(used_ring_size(queue.size), kUsedAlignment);
  queue.chains.resize(queue.size);
  for (std::uint16_t i = queue.size; i > 0; --i) {
    queue.free.push_back(static_cast<std::uint16_t>(i - 1));
  }
  write(kQueueNum, queue.size);
  write(kQueueDescLow, static_cast<std::uint32_t>(queue.descriptors));
  write(kQueueDescHigh, static_cast<std::uint32_t>(queue.descriptors >> 32));
  write(kQueueDriverLow, static_cast<std::uint32_t>(queue.available));
  write(kQueueDriverHigh, static_cast<std::uint32_t>(queue.available >> 32));
  write(kQueueDeviceLow, static_cast<std::uint32_t>(queue.used));
  write(kQueueDeviceHigh, static_cast<std::uint32_t>(queue.used >> 32));
  write(kQueueReady, 1);
  if (queues_.size() <= index) {
    queues_.resize(index + std::size_t{1});
  }
  queues_[index] = std::move(queue);
  return read(kQueueReady) == 1;
}

void VirtioDriverFake::driver_ok() {
  write(kStatus, read(kStatus) | kStatusDriverOk);
}

bool VirtioDriverFake::start(std::uint64_t features) {
  if (!negotiate(features)) {
    return false;
  }
  for (std::uint16_t i = 0; set_up_queue(i); ++i) {
  }
  driver_ok();
  return (read(kStatus) & kStatusDriverOk) != 0;
}

std::uint64_t VirtioDriverFake::allocate(std::size_t size, std::size_t alignment) {
  next_free_ = (next_free_ + alignment - 1) / alignment * alignment;
  const std::uint64_t address = next_free_;
  next_free_ += size;
  SPORE_CHECK(next_free_ <= ram_->end());
  return address;
}

std::uint64_t VirtioDriverFake::place(std::string_view bytes) {
  const std::uint64_t address = allocate(bytes.size());
  SPORE_CHECK(ram_->memory().write(address, std::as_bytes(std::span(bytes))));
  return address;
}

std::string VirtioDriverFake::bytes_at(std::uint64_t address, std::size_t size) {
  std::string bytes(size, '\0');
  SPORE_CHECK(ram_->memory().read(address, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

std::uint16_t VirtioDriverFake::add(std::uint16_t index, const std::vector<Buffer>& buffers) {
  Queue& queue = queues_.at(index);
  SPORE_CHECK(!buffers.empty() && queue.free.size() >= buffers.size());
  std::vector<std::uint16_t> chain(queue.free.end() - static_cast<std::ptrdiff_t>(buffers.size()),
                                   queue.free.end());
  queue.free.resize(queue.free.size() - buffers.size());
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const bool last = i + 1 == buffers.size();
    const auto flags = static_cast<std::uint16_t>((last ? 0 : kDescriptorNext) |
                                                  (buffers[i].writable ? kDescriptorWrite : 0));
    set_descriptor(
        index, chain[i],
        {buffers[i].address, buffers[i].length, flags, last ? std::uint16_t{0} : chain[i + 1]});
  }
  const std::uint16_t head = chain.front();
  queue.chains[head] = std::move(chain);
  make_available(index, head);
  return head;
}

void VirtioDriverFake::make_available(std::uint16_t index, std::uint16_t head) {
  Queue& queue = queues_.at(index);
  store(queue.available + kAvailRing + 2 * (queue.next_available % queue.size), head);
  set_available_index(index, static_cast<std::uint16_t>(queue.next_available + 1));
}

void VirtioDriverFake::set_descriptor(std::uint16_t index, std::uint16_t descriptor,
                                      const Descriptor& value) {
  store(queues_.at(index).descriptors + sizeof(Descriptor) * descriptor, value);
}

void VirtioDriverFake::set_available_index(std::uint16_t index, std::uint16_t value) {
  queues_.at(index).next_available = value;
  store(queues_.at(index).available + kAvailIndex, value);
}

void VirtioDriverFake::set_available_flags(std::uint16_t index, std::uint16_t flags) {
  store(queues_.at(index).available + kAvailFlags, flags);
}

void VirtioDriverFake::set_used_event(std::uint16_t index, std::uint16_t event) {
  const Queue& queue = queues_.at(index);
  store(queue.available + kAvailRing + std::size_t{2} * queue.size, event);
}

std::uint16_t VirtioDriverFake::available_event(std::uint16_t index) {
  const Queue& queue = queues_.at(index);
  return load<std::uint16_t>(queue.used + kUsedRing + sizeof(UsedElement) * queue.size);
}

std::optional<UsedElement> VirtioDriverFake::take_used(std::uint16_t index) {
  Queue& queue = queues_.at(index);
  if (load<std::uint16_t>(queue.used + kUsedIndex) == queue.next_used) {
    return std::nullopt;
  }
  const auto element = load<UsedElement>(queue.used + kUsedRing +
                                         sizeof(UsedElement) * (queue.next_used % queue.size));
  ++queue.next_used;
  if (element.id < queue.chains.size()) {
    auto& chain = queue.chains[element.id];
    queue.free.insert(queue.free.end(), chain.begin(), chain.end());
    chain.clear();
  }
  return element;
}

std::uint32_t VirtioDriverFake::handle_interrupt() {
  const std::uint32_t status = read(kInterruptStatus);
  write(kInterruptAck, status);
  return status;
}

}  // namespace spore::testing
