// Serial: a 16550A that transmits at once and receives nothing, so that a kernel can print before
// it has other drivers. Linux's 8250 driver detects it as a 16550A. Register writes are the guest's
// and hostile.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "bus/interrupt.h"
#include "bus/io_handler.h"
#include "spore/result.h"

namespace spore::devices {

inline constexpr std::uint64_t kSerialWindowSize = 8;

// The default state is the chip after a reset.
struct SerialState {
  std::uint8_t interrupt_enable = 0;
  std::uint8_t fifo_control = 0;
  std::uint8_t line_control = 0;
  std::uint8_t modem_control = 0;
  std::uint8_t scratch = 0;
  std::uint16_t divisor = 12;          // 9600 baud
  bool transmitter_interrupt = false;  // THR empty, not yet read from IIR
  bool operator==(const SerialState&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SerialState, interrupt_enable, fifo_control, line_control,
                                   modem_control, scratch, divisor, transmitter_interrupt)

class Serial final : public bus::IoHandler {
 public:
  // Gets output as it comes, with the device lock held.
  using Sink = std::function<void(std::string_view)>;

  // `interrupt` may be null when no line is wired. kCorrupt names the field that cannot be.
  static Result<std::unique_ptr<Serial>> create(Sink sink,
                                                std::unique_ptr<bus::InterruptLine> interrupt,
                                                const SerialState& state);

  [[nodiscard]] SerialState state() const { return state_; }

  [[nodiscard]] std::string_view name() const noexcept override { return "serial"; }
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  Serial(Sink sink, std::unique_ptr<bus::InterruptLine> interrupt, const SerialState& state)
      : sink_(std::move(sink)), interrupt_(std::move(interrupt)), state_(state) {}
  [[nodiscard]] std::uint8_t read_register(std::uint64_t offset);
  void write_register(std::uint64_t offset, std::uint8_t value);
  [[nodiscard]] std::uint8_t identify_interrupt();
  [[nodiscard]] std::uint8_t modem_status() const;
  void transmitter_is_empty();

  Sink sink_;
  std::unique_ptr<bus::InterruptLine> interrupt_;
  SerialState state_;
};

}  // namespace spore::devices
