#include "devices/serial.h"

#include "support/virtio_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using spore::devices::Serial;
  const auto make = [](const spore::devices::SerialState& state) {
    auto made = Serial::create([](std::string_view) {}, nullptr, state);
    spore::testing::fuzz_require(made.has_value());
    return std::move(*made);
  };
  const auto serial = make({});
  spore::testing::FuzzInput input({data, size});
  while (!input.empty()) {
    const std::uint64_t offset = input.take<std::uint8_t>() % spore::devices::kSerialWindowSize;
    auto value = input.take<std::uint8_t>();
    serial->write(offset, std::as_bytes(std::span(&value, 1)));
    serial->read(offset, std::as_writable_bytes(std::span(&value, 1)));
    spore::testing::fuzz_require(make(serial->state())->state() == serial->state());
  }
  return 0;
}
