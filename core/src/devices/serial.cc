#include "devices/serial.h"

#include <fmt/format.h>

#include <utility>

#include "devices/serial_registers.h"

namespace spore::devices {
namespace {

std::uint8_t bits(unsigned value) {
  return static_cast<std::uint8_t>(value);
}

Result<void> validate_bits(const char* field, std::uint8_t value, std::uint8_t allowed) {
  if ((value & ~allowed) != 0) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("restoring the serial port: {} is {:#x}, which cannot be; the spore is "
                            "damaged, or made by another version: capture it again",
                            field, value));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Serial>> Serial::create(Sink sink,
                                               std::unique_ptr<bus::InterruptLine> interrupt,
                                               const SerialState& state) {
  SPORE_TRY(validate_bits("interrupt_enable", state.interrupt_enable, kIerMask));
  SPORE_TRY(validate_bits("fifo_control", state.fifo_control, kFcrMask));
  SPORE_TRY(validate_bits("modem_control", state.modem_control, kMcrMask));
  return std::unique_ptr<Serial>(new Serial(std::move(sink), std::move(interrupt), state));
}

// An access wider than a register is one access to each, as on the ISA bus.
void Serial::read(std::uint64_t offset, std::span<std::byte> data) {
  for (std::byte& byte : data) {
    byte = static_cast<std::byte>(read_register(offset++));
  }
}

void Serial::write(std::uint64_t offset, std::span<const std::byte> data) {
  for (const std::byte byte : data) {
    write_register(offset++, static_cast<std::uint8_t>(byte));
  }
}

std::uint8_t Serial::read_register(std::uint64_t offset) {
  const bool divisor = (state_.line_control & kLcrDivisorLatch) != 0;
  switch (offset) {
    case kUartData:
      return divisor ? bits(state_.divisor & 0xff) : std::uint8_t{0};
    case kUartInterruptEnable:
      return divisor ? bits(state_.divisor >> 8) : state_.interrupt_enable;
    case kUartIdentify:
      return identify_interrupt();
    case kUartLineControl:
      return state_.line_control;
    case kUartModemControl:
      return state_.modem_control;
    case kUartLineStatus:
      return kLsrTransmitterEmpty;
    case kUartModemStatus:
      return modem_status();
    case kUartScratch:
      return state_.scratch;
    default:
      return 0xff;
  }
}

void Serial::write_register(std::uint64_t offset, std::uint8_t value) {
  const bool divisor = (state_.line_control & kLcrDivisorLatch) != 0;
  switch (offset) {
    case kUartData:
      if (divisor) {
        state_.divisor = static_cast<std::uint16_t>((state_.divisor & 0xff00) | value);
        return;
      }
      if ((state_.modem_control & kMcrLoop) == 0) {
        const char byte = static_cast<char>(value);
        sink_({&byte, 1});
      }
      return transmitter_is_empty();
    case kUartInterruptEnable:
      if (divisor) {
        state_.divisor = static_cast<std::uint16_t>((state_.divisor & 0xff) | value << 8);
        return;
      }
      state_.interrupt_enable = value & kIerMask;
      state_.transmitter_interrupt = false;
      return transmitter_is_empty();
    case kUartIdentify:
      state_.fifo_control = value & kFcrMask;
      return;
    case kUartLineControl:
      state_.line_control = value;
      return;
    case kUartModemControl:
      state_.modem_control = value & kMcrMask;
      return;
    case kUartScratch:
      state_.scratch = value;
      return;
    default:
      return;
  }
}

// Reading IIR acknowledges the only interrupt there is.
std::uint8_t Serial::identify_interrupt() {
  const bool fifos = (state_.fifo_control & kFcrEnable) != 0;
  const bool interrupt = std::exchange(state_.transmitter_interrupt, false);
  return bits((fifos ? kIirFifos : 0U) | (interrupt ? kIirTransmitter : kIirNone));
}

// A peer is always there; in loopback the four outputs are the four inputs, which is how Linux
// finds out that there is a chip at all.
std::uint8_t Serial::modem_status() const {
  const std::uint8_t control = state_.modem_control;
  if ((control & kMcrLoop) == 0) {
    return kMsrClearToSend | kMsrDataSetReady | kMsrCarrierDetect;
  }
  return bits(((control & kMcrRequestToSend) != 0 ? kMsrClearToSend : 0U) |
              ((control & kMcrDataTerminalReady) != 0 ? kMsrDataSetReady : 0U) |
              ((control & kMcrOut1) != 0 ? kMsrRing : 0U) |
              ((control & kMcrOut2) != 0 ? kMsrCarrierDetect : 0U));
}

void Serial::transmitter_is_empty() {
  if ((state_.interrupt_enable & kIerTransmitter) == 0) {
    return;
  }
  state_.transmitter_interrupt = true;
  if (interrupt_ != nullptr) {
    interrupt_->trigger();
  }
}

}  // namespace spore::devices
