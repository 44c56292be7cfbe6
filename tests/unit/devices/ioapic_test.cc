#include "devices/ioapic.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <utility>
#include <vector>

#include "devices/ioapic_registers.h"
#include "support/state_round_trip.h"

namespace spore::devices {
namespace {

using Msi = std::pair<std::uint64_t, std::uint32_t>;

class IoapicTest : public ::testing::Test {
 protected:
  std::unique_ptr<Ioapic> make(const IoapicState& state) {
    return std::move(*Ioapic::create(
        [this](std::uint64_t address, std::uint32_t data) { sent_.emplace_back(address, data); },
        state));
  }
  void store(std::uint64_t offset, std::uint32_t value) {
    ioapic_->write(offset, std::as_bytes(std::span(&value, 1)));
  }
  std::uint32_t load(std::uint64_t offset) {
    std::uint32_t value = 0;
    ioapic_->read(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  void set(std::uint32_t index, std::uint32_t value) {
    store(kIoRegSel, index);
    store(kIoWin, value);
  }
  std::uint32_t get(std::uint32_t index) {
    store(kIoRegSel, index);
    return load(kIoWin);
  }

  std::vector<Msi> sent_;
  std::unique_ptr<Ioapic> ioapic_ = make({});
};

TEST_F(IoapicTest, IdentifiesItself) {
  EXPECT_EQ(get(kIoapicVersion), 0x00170011U);
  EXPECT_EQ(get(kIoapicId), 0U);
  set(kIoapicId, 0xff000000);
  EXPECT_EQ(get(kIoapicId), 0x0f000000U);
  EXPECT_EQ(get(kIoapicArbitration), 0x0f000000U);
  for (unsigned pin = 0; pin < kIoapicPins; ++pin) {
    EXPECT_EQ(get(kIoapicRedirection + 2 * pin), 0x10000U);
    EXPECT_EQ(get(kIoapicRedirection + 2 * pin + 1), 0U);
  }
  EXPECT_EQ(get(0x40), 0U);
  EXPECT_EQ(get(0x05), 0U);
}

TEST_F(IoapicTest, SendsWhatTheRedirectionEntrySays) {
  set(kIoapicRedirection + 2 * 5 + 1, 0x03000000);  // destination 3
  set(kIoapicRedirection + 2 * 5, 0x41);            // fixed, physical, edge
  ioapic_->trigger(5);
  set(kIoapicRedirection + 2 * 5, 0x942);  // lowest priority, logical
  ioapic_->trigger(5);
  set(kIoapicRedirection + 2 * 5, 0x8043);  // level
  IoapicPin(*ioapic_, 5).trigger();
  EXPECT_EQ(sent_,
            (std::vector<Msi>{{0xfee03000, 0x41}, {0xfee03004, 0x142}, {0xfee03000, 0xc043}}));
}

TEST_F(IoapicTest, RemembersOneEdgeOfAMaskedPin) {
  ioapic_->trigger(7);
  ioapic_->trigger(7);
  EXPECT_TRUE(sent_.empty());
  set(kIoapicRedirection + 14, 0x10030);  // still masked
  EXPECT_TRUE(sent_.empty());
  set(kIoapicRedirection + 14, 0x30);
  EXPECT_EQ(sent_, (std::vector<Msi>{{0xfee00000, 0x30}}));
  set(kIoapicRedirection + 14, 0x30);
  EXPECT_EQ(sent_.size(), 1U);
}

TEST_F(IoapicTest, ReadOnlyBitsStayClear) {
  set(kIoapicRedirection, 0xffffffff);
  set(kIoapicRedirection + 1, 0xffffffff);
  EXPECT_EQ(get(kIoapicRedirection), 0x1afffU);
  EXPECT_EQ(get(kIoapicRedirection + 1), 0xff000000U);
}

IoapicState example_state() {
  IoapicState state;
  state.id = 2;
  state.selected = 0x1b;
  state.pending = 1 << 4;
  state.redirection[5] = 0x0100000000000931;
  return state;
}

TEST_F(IoapicTest, StateKeepsItsFormAndGoesOn) {
  testing::expect_golden(example_state(), "ioapic.json");
  EXPECT_EQ(testing::through_cbor(example_state()), example_state());
  ioapic_ = make(testing::through_json(example_state()));
  EXPECT_EQ(ioapic_->state(), example_state());
  EXPECT_EQ(load(kIoWin), 0x01000000U);
  set(kIoapicRedirection + 8, 0x50);
  EXPECT_EQ(sent_, (std::vector<Msi>{{0xfee00000, 0x50}}));
}

TEST_F(IoapicTest, RefusesStatesThatCannotBe) {
  const std::vector<std::pair<std::string, std::function<void(IoapicState&)>>> cases = {
      {"id", [](auto& state) { state.id = 16; }},
      {"pending", [](auto& state) { state.pending = 1 << 24; }},
      {"pending has pin 5", [](auto& state) { state.pending = 1 << 5; }},
      {"redirection[23]", [](auto& state) { state.redirection[23] = 1 << 17; }},
      {"redirection[0]", [](auto& state) { state.redirection[0] |= kRedirectionRemoteIrr; }},
  };
  for (const auto& [field, damage] : cases) {
    IoapicState state = example_state();
    damage(state);
    const auto refused = Ioapic::create([](std::uint64_t, std::uint32_t) {}, state);
    ASSERT_FALSE(refused) << field;
    EXPECT_EQ(refused.error().code(), ErrorCode::kCorrupt);
    EXPECT_NE(refused.error().message().find(field), std::string::npos);
  }
}

TEST_F(IoapicTest, RandomAccessesLeaveARestorableState) {
  std::mt19937_64 random(11);  // NOLINT: the same every time
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t offset =
        random() % 4 == 0 ? random() % kIoapicWindowSize : random() % 2 * 16;
    const std::uint64_t value = random();
    const std::size_t size = std::size_t{1} << random() % 4;
    auto bytes = std::as_bytes(std::span(&value, 1)).first(size);
    ioapic_->write(offset, bytes);
    std::uint64_t read = 0;
    ioapic_->read(offset, std::as_writable_bytes(std::span(&read, 1)).first(size));
    ioapic_->trigger(static_cast<unsigned>(random() % kIoapicPins));
    if (i % 100 == 0) {
      make(ioapic_->state());
    }
  }
  for (const auto& [address, data] : sent_) {
    ASSERT_EQ(address & 0xfff00000, 0xfee00000U);
  }
}

}  // namespace
}  // namespace spore::devices
