#include "devices/generation.h"

#include "support/virtio_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using spore::wire::DoorbellCommand;
  spore::devices::GenerationDevice device(
      [](DoorbellCommand command) {
        spore::testing::fuzz_require(command >= DoorbellCommand::kCapture &&
                                     command <= DoorbellCommand::kReady);
      },
      {1});
  spore::testing::FuzzInput input({data, size});
  while (!input.empty()) {
    const std::uint64_t offset = input.take<std::uint8_t>() % 16U;
    auto value = input.take<std::uint64_t>();
    const std::size_t width = std::size_t{1} << input.take<std::uint8_t>() % 4U;
    device.write(offset, std::as_bytes(std::span(&value, 1)).first(width));
    device.read(offset, std::as_writable_bytes(std::span(&value, 1)).first(width));
  }
  return 0;
}
