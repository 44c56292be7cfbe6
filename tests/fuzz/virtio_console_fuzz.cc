#include "support/virtio_fuzz.h"
#include "virtio/console.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using spore::virtio::ConsoleDevice;
  const auto make = [] {
    return std::make_unique<ConsoleDevice>([](std::string_view) {}, spore::virtio::ConsoleState{});
  };
  spore::testing::fuzz_virtio_device({data, size}, {make(), make, {}});
  return 0;
}
