// A section that is taken is what devices are made from: they refuse it, or work and can be saved
// and made again.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "isa/board.h"
#include "snapshot/document.h"
#include "support/virtio_fuzz.h"
#include "virtio/mmio_registers.h"
#include "vm/vm_state.h"

namespace {

using spore::testing::fuzz_require;

spore::vm::DeviceSetOptions options() {
  spore::vm::DeviceSetOptions options;
  options.console = [](std::string_view) {};
  options.msi = [](std::uint64_t, std::uint32_t) {};
  options.doorbell = [](spore::wire::DoorbellCommand) {};
  options.agent_bytes = [](std::string_view) {};
  options.agent_closed = [] {};
  return options;
}

// Reads every register of every slot, and rings every queue.
void touch(spore::vm::DeviceSet& devices) {
  for (std::uint64_t slot = 0; slot < spore::isa::kSlotCount; ++slot) {
    const std::uint64_t base = spore::isa::kSlotBase + slot * spore::isa::kSlotSize;
    std::uint32_t value = 0;
    const auto bytes = std::as_writable_bytes(std::span(&value, 1));
    for (std::uint64_t offset = 0; offset < 0x110; offset += 4) {
      devices.mmio().read(base + offset, bytes);
    }
    for (value = 0; value < 4; ++value) {
      devices.mmio().write(base + spore::virtio::kQueueNotify, bytes);
    }
  }
  devices.send_to_agent("bytes");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spore;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto state = snapshot::from_document<vm::VmState>(bytes, "it");
  if (!state) {
    return 0;
  }
  fuzz_require(snapshot::to_document(*state) == bytes);
  spore::testing::GuestRam ram(1 << 16);
  auto devices = vm::DeviceSet::create(options(), ram.memory(), state->devices);
  if (!devices) {
    return 0;
  }
  (*devices)->resume();
  touch(**devices);
  (*devices)->notify_generation();
  const auto again = vm::DeviceSet::create(options(), ram.memory(), (*devices)->state());
  fuzz_require(again.has_value());
  fuzz_require(ram.guards_intact());
  return 0;
}
