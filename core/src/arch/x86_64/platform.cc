#include "isa/platform.h"

#include <utility>

#include "isa/board.h"

namespace spore::isa {

Result<std::unique_ptr<Platform>> Platform::create(Sinks sinks, const PlatformState& state,
                                                   bus::Bus& mmio, bus::Bus& ports) {
  std::unique_ptr<Platform> platform(new Platform());
  SPORE_ASSIGN(platform->ioapic_, devices::Ioapic::create(std::move(sinks.msi), state.ioapic));
  SPORE_ASSIGN(
      platform->serial_,
      devices::Serial::create(std::move(sinks.console), platform->line(kGsiSerial), state.serial));
  mmio.add({kIoapic, kIoapicSize, platform->ioapic_.get()});
  ports.add({kSerialPort, kSerialPorts, platform->serial_.get()});
  return platform;
}

std::unique_ptr<bus::InterruptLine> Platform::line(std::uint32_t gsi) {
  return std::make_unique<devices::IoapicPin>(*ioapic_, gsi);
}

PlatformState Platform::state() const {
  return {serial_->state(), ioapic_->state()};
}

}  // namespace spore::isa
