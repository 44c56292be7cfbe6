// Platform: what this board has besides virtio: serial port, interrupt controller. Owns them and
// places them on the buses. Another board offers the same class.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "bus/bus.h"
#include "bus/interrupt.h"
#include "devices/ioapic.h"
#include "devices/serial.h"
#include "spore/result.h"

namespace spore::isa {

struct PlatformState {
  devices::SerialState serial;
  devices::IoapicState ioapic;
  bool operator==(const PlatformState&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PlatformState, serial, ioapic)

class Platform {
 public:
  struct Sinks {
    std::function<void(std::string_view)> console;
    std::function<void(std::uint64_t address, std::uint32_t data)> msi;
  };
  // Adds the devices to the buses, which must not outlive the platform.
  static Result<std::unique_ptr<Platform>> create(Sinks sinks, const PlatformState& state,
                                                  bus::Bus& mmio, bus::Bus& ports);

  // The line of a GSI, for a device. The platform outlives it.
  [[nodiscard]] std::unique_ptr<bus::InterruptLine> line(std::uint32_t gsi);
  [[nodiscard]] PlatformState state() const;

 private:
  Platform() = default;
  std::unique_ptr<devices::Ioapic> ioapic_;
  std::unique_ptr<devices::Serial> serial_;
};

}  // namespace spore::isa
