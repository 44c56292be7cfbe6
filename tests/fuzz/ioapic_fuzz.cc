#include "devices/ioapic.h"

#include "support/virtio_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using spore::devices::Ioapic;
  const auto make = [](const spore::devices::IoapicState& state) {
    auto made = Ioapic::create([](std::uint64_t, std::uint32_t) {}, state);
    spore::testing::fuzz_require(made.has_value());
    return std::move(*made);
  };
  const auto ioapic = make({});
  spore::testing::FuzzInput input({data, size});
  while (!input.empty()) {
    const std::uint64_t offset = input.take<std::uint8_t>() % 32U;
    auto value = input.take<std::uint32_t>();
    ioapic->write(offset, std::as_bytes(std::span(&value, 1)));
    ioapic->read(offset, std::as_writable_bytes(std::span(&value, 1)));
    ioapic->trigger(input.take<std::uint8_t>() % spore::devices::kIoapicPins);
    spore::testing::fuzz_require(make(ioapic->state())->state() == ioapic->state());
  }
  return 0;
}
