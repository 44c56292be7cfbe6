#include "support/virtio_fuzz.h"
#include "virtio/rng.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using spore::virtio::RngDevice;
  const auto make = [] {
    return std::make_unique<RngDevice>(
        [](std::span<std::byte> bytes) { std::fill(bytes.begin(), bytes.end(), std::byte{1}); },
        spore::virtio::RngState{});
  };
  spore::testing::fuzz_virtio_device({data, size}, {make(), make, {}});
  return 0;
}
