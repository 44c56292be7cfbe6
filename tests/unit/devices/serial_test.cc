#include "devices/serial.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "devices/serial_registers.h"
#include "support/guest_ram.h"
#include "support/state_round_trip.h"

namespace spore::devices {
namespace {

class SerialTest : public ::testing::Test {
 protected:
  std::unique_ptr<Serial> make(const SerialState& state) {
    return std::move(*Serial::create([this](std::string_view text) { output_ += text; },
                                     std::make_unique<testing::CountingLine>(edges_), state));
  }
  void out(std::uint64_t offset, unsigned value) {
    const auto byte = static_cast<std::byte>(value);
    serial_->write(offset, std::span(&byte, 1));
  }
  unsigned in(std::uint64_t offset) {
    std::byte byte{};
    serial_->read(offset, std::span(&byte, 1));
    return static_cast<unsigned>(byte);
  }

  std::string output_;
  unsigned edges_ = 0;
  std::unique_ptr<Serial> serial_ = make({});
};

TEST_F(SerialTest, PrintsAndIsAlwaysReady) {
  for (const char c : std::string("early\n")) {
    EXPECT_EQ(in(kUartLineStatus), 0x60U);
    out(kUartData, static_cast<unsigned char>(c));
  }
  EXPECT_EQ(output_, "early\n");
  EXPECT_EQ(edges_, 0U);
}

// What Linux's autoconfig() and autoconfig_16550a() look at.
TEST_F(SerialTest, IsDetectedAsA16550A) {
  out(kUartInterruptEnable, 0);
  EXPECT_EQ(in(kUartInterruptEnable), 0U);
  out(kUartInterruptEnable, 0x0f);
  EXPECT_EQ(in(kUartInterruptEnable), 0x0fU);
  out(kUartInterruptEnable, 0);
  out(kUartModemControl, kMcrLoop | 0x0a);
  EXPECT_EQ(in(kUartModemStatus)&0xf0, 0x90U);
  out(kUartModemControl, kMcrLoop | 0x05);
  EXPECT_EQ(in(kUartModemStatus)&0xf0, 0x60U);
  out(kUartData, 'x');  // goes nowhere
  out(kUartModemControl, 0);
  EXPECT_EQ(in(kUartIdentify), 0x01U);
  out(kUartIdentify, kFcrEnable | 0x06);
  EXPECT_EQ(in(kUartIdentify), 0xc1U);
  out(kUartScratch, 0x5a);
  EXPECT_EQ(in(kUartScratch), 0x5aU);
  EXPECT_EQ(in(kUartModemStatus), 0xb0U);
  EXPECT_EQ(output_, "");
}

TEST_F(SerialTest, DivisorLatchHidesDataAndInterrupts) {
  out(kUartLineControl, 0x83);
  out(kUartData, 0x01);
  out(kUartInterruptEnable, 0x02);
  EXPECT_EQ(in(kUartData), 0x01U);
  EXPECT_EQ(in(kUartInterruptEnable), 0x02U);
  out(kUartLineControl, 0x03);
  EXPECT_EQ(in(kUartLineControl), 0x03U);
  EXPECT_EQ(in(kUartInterruptEnable), 0U);
  EXPECT_EQ(in(kUartData), 0U);
  EXPECT_EQ(serial_->state().divisor, 0x0201);
  EXPECT_EQ(output_, "");
}

TEST_F(SerialTest, SaysThatTheTransmitterIsEmpty) {
  out(kUartInterruptEnable, kIerTransmitter);
  EXPECT_EQ(edges_, 1U);
  EXPECT_EQ(in(kUartIdentify), kIirTransmitter);
  EXPECT_EQ(in(kUartIdentify), kIirNone);
  out(kUartData, 'a');
  EXPECT_EQ(edges_, 2U);
  EXPECT_EQ(in(kUartIdentify), kIirTransmitter);
  out(kUartInterruptEnable, 0);
  out(kUartData, 'b');
  EXPECT_EQ(edges_, 2U);
  EXPECT_EQ(in(kUartIdentify), kIirNone);
}

TEST_F(SerialTest, StateKeepsItsFormAndGoesOn) {
  SerialState state;
  state.interrupt_enable = kIerTransmitter;
  state.fifo_control = 0xc1;
  state.line_control = 0x83;
  state.modem_control = 0x0b;
  state.scratch = 0x55;
  state.divisor = 0x0102;
  state.transmitter_interrupt = true;
  testing::expect_golden(state, "serial.json");
  EXPECT_EQ(testing::through_cbor(state), state);
  serial_ = make(testing::through_json(state));
  EXPECT_EQ(serial_->state(), state);
  EXPECT_EQ(in(kUartData), 2U);
  EXPECT_EQ(in(kUartIdentify), 0xc2U);
}

TEST_F(SerialTest, RefusesStatesThatCannotBe) {
  SerialState interrupts;
  interrupts.interrupt_enable = 0x10;
  SerialState fifo;
  fifo.fifo_control = 0x02;
  SerialState modem;
  modem.modem_control = 0x20;
  for (const auto& state : {interrupts, fifo, modem}) {
    const auto refused = Serial::create([](std::string_view) {}, nullptr, state);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kCorrupt);
  }
}

TEST_F(SerialTest, RandomAccessesLeaveARestorableState) {
  std::mt19937_64 random(13);  // NOLINT: the same every time
  for (int i = 0; i < 100'000; ++i) {
    std::uint64_t value = random();
    const std::size_t size = std::size_t{1} << random() % 4;
    const std::uint64_t offset = random() % kSerialWindowSize;
    serial_->write(offset, std::as_bytes(std::span(&value, 1)).first(size));
    serial_->read(offset, std::as_writable_bytes(std::span(&value, 1)).first(size));
    if (i % 100 == 0) {
      make(serial_->state());
    }
  }
  EXPECT_FALSE(output_.empty());
}

}  // namespace
}  // namespace spore::devices
