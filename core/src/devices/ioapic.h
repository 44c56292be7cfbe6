// Ioapic: an I/O APIC (Intel 82093AA) in user space, for a machine whose local APICs are the
// hypervisor's. It turns an edge on a pin into the MSI that the guest's redirection entry
// describes. Register writes are the guest's and hostile.
//
// An edge on a masked pin is remembered, once, and delivered when the pin is unmasked. The 82093AA
// loses it; but Linux masks a pin for a moment while it moves an interrupt to another CPU, its
// virtio drivers wait for ever for an edge lost then, and a spurious one costs them nothing.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "bus/interrupt.h"
#include "bus/io_handler.h"
#include "spore/result.h"

namespace spore::devices {

inline constexpr unsigned kIoapicPins = 24;
inline constexpr std::uint64_t kIoapicWindowSize = 0x1000;

// The default state is the chip after a reset: every pin masked.
struct IoapicState {
  static constexpr std::uint64_t kMasked = std::uint64_t{1} << 16;
  IoapicState() { redirection.fill(kMasked); }

  std::uint8_t id = 0;        // 4 bits, chosen by the guest
  std::uint8_t selected = 0;  // IOREGSEL
  std::uint32_t pending = 0;  // one bit per pin: an edge came while it was masked
  std::array<std::uint64_t, kIoapicPins> redirection;
  bool operator==(const IoapicState&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(IoapicState, id, selected, pending, redirection)

class Ioapic final : public bus::IoHandler {
 public:
  // Delivers a message-signalled interrupt to the local APICs.
  using MsiSink = std::function<void(std::uint64_t address, std::uint32_t data)>;

  // kCorrupt names the field of `state` that cannot be.
  static Result<std::unique_ptr<Ioapic>> create(MsiSink sink, const IoapicState& state);

  // An edge on a pin (below kIoapicPins).
  void trigger(unsigned pin);
  [[nodiscard]] IoapicState state() const { return state_; }

  [[nodiscard]] std::string_view name() const noexcept override { return "ioapic"; }
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  Ioapic(MsiSink sink, const IoapicState& state) : sink_(std::move(sink)), state_(state) {}
  [[nodiscard]] std::uint32_t read_selected() const;
  void write_selected(std::uint32_t value);
  void deliver(unsigned pin);

  MsiSink sink_;
  IoapicState state_;
};

// One pin, as a device sees it. The Ioapic outlives it.
class IoapicPin final : public bus::InterruptLine {
 public:
  IoapicPin(Ioapic& ioapic, unsigned pin) noexcept;
  void trigger() override { ioapic_.trigger(pin_); }

 private:
  Ioapic& ioapic_;
  unsigned pin_;
};

}  // namespace spore::devices
