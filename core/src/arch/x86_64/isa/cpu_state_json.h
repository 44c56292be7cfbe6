// JSON of a vCPU's state: its fields by name, byte areas in hexadecimal.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/hex.h"
#include "isa/cpu_state.h"

namespace spore::isa {

NLOHMANN_JSON_SERIALIZE_ENUM(MpState, {{MpState::kRunnable, "runnable"},
                                       {MpState::kUninitialized, "uninitialized"},
                                       {MpState::kInitReceived, "init-received"},
                                       {MpState::kHalted, "halted"},
                                       {MpState::kSipiReceived, "sipi-received"}})
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Segment, base, limit, selector, type, dpl, present, db, s, l, g,
                                   avl, unusable)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DescriptorTable, base, limit)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Msr, index, value)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PendingEvents, exception_injected, exception_has_error_code,
                                   exception_vector, exception_error_code, interrupt_injected,
                                   interrupt_soft, interrupt_vector, interrupt_shadow, nmi_injected,
                                   nmi_pending, nmi_masked)

}  // namespace spore::isa

template <>
struct nlohmann::adl_serializer<std::vector<std::byte>> {
  static void to_json(json& value, const std::vector<std::byte>& bytes) {
    value = spore::base::to_hex(
        std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }
  static void from_json(const json& value, std::vector<std::byte>& bytes) {
    const auto text = spore::base::from_hex(value.get_ref<const std::string&>());
    if (!text) {
      throw std::invalid_argument(text.error().message());
    }
    const auto* begin = reinterpret_cast<const std::byte*>(text->data());
    bytes.assign(begin, begin + text->size());
  }
};

namespace spore::isa {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CpuState, gpr, rip, rflags, cs, ds, es, fs, gs, ss, tr, ldt, gdt,
                                   idt, cr0, cr2, cr3, cr4, cr8, efer, apic_base, interrupt_bitmap,
                                   db, dr6, dr7, xcr0, xsave, lapic, msrs, tsc, tsc_deadline,
                                   tsc_khz, events, mp_state)

}  // namespace spore::isa
