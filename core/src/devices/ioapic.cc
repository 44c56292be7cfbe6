#include "devices/ioapic.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "devices/ioapic_registers.h"

namespace spore::devices {
namespace {

constexpr std::uint64_t kReadOnlyBits = kRedirectionDeliveryStatus | kRedirectionRemoteIrr;
constexpr std::uint64_t kKnownBits = kRedirectionKnown & ~kReadOnlyBits;

Result<void> corrupt(std::string_view what) {
  return fail(ErrorCode::kCorrupt,
              fmt::format("restoring the I/O APIC: {}; the spore is damaged, or made by another "
                          "version: capture it again",
                          what));
}

Result<void> validate(const IoapicState& state) {
  if (state.id > 0xf) {
    return corrupt(fmt::format("id is {}, more than 4 bits", state.id));
  }
  if (state.pending >> kIoapicPins != 0) {
    return corrupt(fmt::format("pending is {:#x}, more than {} pins", state.pending, kIoapicPins));
  }
  for (unsigned pin = 0; pin < kIoapicPins; ++pin) {
    const std::uint64_t entry = state.redirection[pin];
    if ((entry & ~kKnownBits) != 0) {
      return corrupt(fmt::format("redirection[{}] is {:#x}, which cannot be", pin, entry));
    }
    if ((state.pending >> pin & 1) != 0 && (entry & kRedirectionMasked) == 0) {
      return corrupt(fmt::format("pending has pin {}, which is not masked", pin));
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Ioapic>> Ioapic::create(MsiSink sink, const IoapicState& state) {
  SPORE_TRY(validate(state));
  return std::unique_ptr<Ioapic>(new Ioapic(std::move(sink), state));
}

void Ioapic::trigger(unsigned pin) {
  SPORE_CHECK(pin < kIoapicPins);
  if ((state_.redirection[pin] & kRedirectionMasked) != 0) {
    state_.pending |= 1U << pin;
  } else {
    deliver(pin);
  }
}

// The redirection entry as an MSI: Intel SDM volume 3, 11.11 (message address and data formats).
void Ioapic::deliver(unsigned pin) {
  const std::uint64_t entry = state_.redirection[pin];
  const std::uint64_t destination = entry >> kRedirectionDestinationShift;
  const bool logical = (entry & kRedirectionLogical) != 0;
  const std::uint64_t mode = entry & kRedirectionDeliveryMode;  // bits 8 to 10 in both formats
  const bool level = (entry & kRedirectionLevel) != 0;
  const std::uint64_t address =
      kMsiAddressBase | destination << kMsiDestinationShift | (logical ? kMsiLogical : 0);
  const std::uint64_t data = (entry & kRedirectionVector) | mode | (level ? kMsiLevelAssert : 0);
  sink_(address, static_cast<std::uint32_t>(data));
}

void Ioapic::read(std::uint64_t offset, std::span<std::byte> data) {
  std::uint32_t value = 0;
  if (offset == kIoRegSel) {
    value = state_.selected;
  } else if (offset == kIoWin) {
    value = read_selected();
  }
  std::fill(data.begin(), data.end(), std::byte{0});
  std::memcpy(data.data(), &value, std::min(data.size(), sizeof(value)));
}

void Ioapic::write(std::uint64_t offset, std::span<const std::byte> data) {
  std::uint32_t value = 0;
  std::memcpy(&value, data.data(), std::min(data.size(), sizeof(value)));
  if (offset == kIoRegSel) {
    state_.selected = static_cast<std::uint8_t>(value);
  } else if (offset == kIoWin && data.size() == sizeof(value)) {
    write_selected(value);
  }
}

std::uint32_t Ioapic::read_selected() const {
  const std::uint8_t selected = state_.selected;
  if (selected == kIoapicId || selected == kIoapicArbitration) {
    return std::uint32_t{state_.id} << kIoapicIdShift;
  }
  if (selected == kIoapicVersion) {
    return kIoapicVersionNumber | (kIoapicPins - 1) << kIoapicMaxEntryShift;
  }
  const unsigned index = unsigned{selected} - kIoapicRedirection;
  if (selected < kIoapicRedirection || index / 2 >= kIoapicPins) {
    return 0;
  }
  const std::uint64_t entry = state_.redirection[index / 2];
  return static_cast<std::uint32_t>(index % 2 == 0 ? entry : entry >> 32);
}

void Ioapic::write_selected(std::uint32_t value) {
  if (state_.selected == kIoapicId) {
    state_.id = static_cast<std::uint8_t>(value >> kIoapicIdShift & 0xf);
    return;
  }
  const unsigned index = unsigned{state_.selected} - kIoapicRedirection;
  if (state_.selected < kIoapicRedirection || index / 2 >= kIoapicPins) {
    return;
  }
  const unsigned pin = index / 2;
  std::uint64_t& entry = state_.redirection[pin];
  const std::uint64_t written = index % 2 == 0 ? (entry & ~std::uint64_t{0xffffffff}) | value
                                               : (entry & 0xffffffff) | std::uint64_t{value} << 32;
  entry = written & kKnownBits;
  if ((entry & kRedirectionMasked) == 0 && (state_.pending >> pin & 1) != 0) {
    state_.pending &= ~(1U << pin);
    deliver(pin);
  }
}

IoapicPin::IoapicPin(Ioapic& ioapic, unsigned pin) noexcept : ioapic_(ioapic), pin_(pin) {
  SPORE_CHECK(pin < kIoapicPins);
}

}  // namespace spore::devices
