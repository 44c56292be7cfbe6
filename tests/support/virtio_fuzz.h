// One fuzz run of a virtio device: the input is read as what a guest does. Invariants: nothing
// crashes, no byte outside RAM is written, and the state can always be restored.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>

#include "support/guest_ram.h"
#include "support/virtio_driver_fake.h"
#include "virtio/mmio_transport.h"

namespace spore::testing {

// The bytes of the input, one after the other; zeroes once they are used up.
class FuzzInput {
 public:
  explicit FuzzInput(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }
  template <typename T>
  T take() {
    T value{};
    const std::size_t size = std::min(sizeof(T), bytes_.size());
    std::copy_n(bytes_.begin(), size, reinterpret_cast<std::uint8_t*>(&value));
    bytes_ = bytes_.subspan(size);
    return value;
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

inline void fuzz_require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

struct FuzzedDevice {
  std::unique_ptr<virtio::VirtioDevice> device;
  // A device with the state of the one at hand.
  std::function<std::unique_ptr<virtio::VirtioDevice>()> copy;
  std::function<void(FuzzInput&)> host;  // what the host end does; may be empty
};

inline void fuzz_virtio_device(std::span<const std::uint8_t> bytes, FuzzedDevice fuzzed) {
  FuzzInput input(bytes);
  GuestRam ram(1 << 16);
  unsigned edges = 0;
  const auto make = [&](std::unique_ptr<virtio::VirtioDevice> device,
                        const virtio::MmioTransportState& state) {
    auto made = virtio::MmioTransport::create(std::move(device), ram.memory(),
                                              std::make_unique<CountingLine>(edges), state);
    fuzz_require(made.has_value());
    return std::move(*made);
  };
  const auto transport = make(std::move(fuzzed.device), {});
  VirtioDriverFake driver(*transport, ram);
  driver.start(virtio::kFeatureVersion1 |
               (input.take<std::uint8_t>() % 2 != 0 ? virtio::kFeatureEventIdx : 0));
  while (!input.empty()) {
    switch (input.take<std::uint8_t>() % 7) {
      case 0:
        driver.write(input.take<std::uint8_t>() % 64 * 4U, input.take<std::uint32_t>());
        break;
      case 1: {
        const auto value = input.take<std::uint64_t>();
        std::memcpy(ram.ram().data() + input.take<std::uint16_t>() % (ram.size() - 8), &value, 8);
        break;
      }
      case 2: {  // a descriptor that is nearly right
        const auto address = GuestRam::kBase + input.take<std::uint16_t>();
        const auto length = std::uint32_t{input.take<std::uint16_t>()};
        const auto flags = input.take<std::uint8_t>();
        const auto next = std::uint16_t{input.take<std::uint8_t>()};
        const auto slot = std::uint16_t{input.take<std::uint8_t>()};
        const virtio::Descriptor descriptor{address, length, flags, next};
        std::memcpy(ram.ram().data() + 16 * (slot % 64U), &descriptor, sizeof(descriptor));
        break;
      }
      case 3:
        driver.kick(input.take<std::uint8_t>() % 4);
        break;
      case 4:
        driver.handle_interrupt();
        break;
      case 5:
        make(fuzzed.copy(), transport->state())->resume();
        break;
      default:
        if (fuzzed.host) {
          fuzzed.host(input);
        }
    }
  }
  fuzz_require(ram.guards_intact());
}

}  // namespace spore::testing
