// Saving and restoring a vCPU's architectural state through KVM's ioctls
// (Documentation/virt/kvm/api.rst). Order of a restore: CPUID is set at creation; system registers
// before the local APIC (its base and mode lie in them); XCR0 after CR4; XSAVE after XCR0; the
// local APIC before MSRs; TSC before TSC_DEADLINE, which is last of all MSRs since it arms a timer;
// general registers before pending events, both with the next KVM_RUN where that is possible; the
// run state at the end.
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "kvm/common/flexible.h"
#include "kvm/common/kvm_vcpu.h"

namespace spore::kvm {
namespace {

constexpr std::uint32_t kMsrTsc = 0x10;
constexpr std::uint32_t kMsrTscDeadline = 0x6e0;
// Have fields of their own in CpuState, or are commands rather than state.
constexpr std::uint32_t kMsrApicBase = 0x1b;
constexpr std::uint32_t kMsrEfer = 0xc0000080;

// Hyper-V's synthetic MSRs: not offered to guests, and some of them count time.
constexpr bool is_hyperv_msr(std::uint32_t index) {
  return (index >> 9) == (0x40000000 >> 9);
}

isa::Segment from_kvm(const kvm_segment& s) {
  return {s.base,    s.limit,  s.selector, s.type,   s.dpl,      s.present != 0,
          s.db != 0, s.s != 0, s.l != 0,   s.g != 0, s.avl != 0, s.unusable != 0};
}

kvm_segment to_kvm(const isa::Segment& s) {
  kvm_segment k{};
  k.base = s.base;
  k.limit = s.limit;
  k.selector = s.selector;
  k.type = s.type;
  k.dpl = s.dpl;
  k.present = s.present;
  k.db = s.db;
  k.s = s.s;
  k.l = s.l;
  k.g = s.g;
  k.avl = s.avl;
  k.unusable = s.unusable;
  return k;
}

kvm_dtable to_kvm(const isa::DescriptorTable& table) {
  kvm_dtable k{};
  k.base = table.base;
  k.limit = table.limit;
  return k;
}

kvm_vcpu_events to_kvm(const isa::PendingEvents& pending) {
  kvm_vcpu_events events{};
  events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
  events.exception.injected = pending.exception_injected;
  events.exception.nr = pending.exception_vector;
  events.exception.has_error_code = pending.exception_has_error_code;
  events.exception.error_code = pending.exception_error_code;
  events.interrupt.injected = pending.interrupt_injected;
  events.interrupt.nr = pending.interrupt_vector;
  events.interrupt.soft = pending.interrupt_soft;
  events.interrupt.shadow = pending.interrupt_shadow;
  events.nmi.injected = pending.nmi_injected;
  events.nmi.pending = pending.nmi_pending;
  events.nmi.masked = pending.nmi_masked;
  return events;
}

constexpr std::uint64_t kDeferred = KVM_SYNC_X86_REGS | KVM_SYNC_X86_EVENTS;

// As a CPU has them after RESET (Intel SDM volume 3, table 11-1).
bool has_reset_debug_registers(const isa::CpuState& state) {
  return state.dr6 == 0xffff0ff0 && state.dr7 == 0x400 &&
         std::all_of(state.db.begin(), state.db.end(), [](std::uint64_t db) { return db == 0; });
}

constexpr std::array kMpStates = {
    std::pair{isa::MpState::kRunnable, KVM_MP_STATE_RUNNABLE},
    std::pair{isa::MpState::kUninitialized, KVM_MP_STATE_UNINITIALIZED},
    std::pair{isa::MpState::kInitReceived, KVM_MP_STATE_INIT_RECEIVED},
    std::pair{isa::MpState::kHalted, KVM_MP_STATE_HALTED},
    std::pair{isa::MpState::kSipiReceived, KVM_MP_STATE_SIPI_RECEIVED},
};

}  // namespace

Result<isa::CpuState> KvmVcpu::save() {
  SPORE_TRY(apply_deferred());
  isa::CpuState state;
  // First, since asking for it makes KVM deliver what INIT and SIPI left half done.
  kvm_mp_state mp{};
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_GET_MP_STATE, &mp, "reading a vCPU's run state"));
  const auto known = std::find_if(kMpStates.begin(), kMpStates.end(), [&](const auto& pair) {
    return static_cast<std::uint32_t>(pair.second) == mp.mp_state;
  });
  if (known == kMpStates.end()) {
    return fail(ErrorCode::kInternal, fmt::format("unknown vCPU run state {}", mp.mp_state));
  }
  state.mp_state = known->first;

  kvm_regs regs{};
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_GET_REGS, &regs, "reading a vCPU's registers"));
  state.gpr = {regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rsp, regs.rbp,
               regs.r8,  regs.r9,  regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15};
  state.rip = regs.rip;
  state.rflags = regs.rflags;

  SPORE_TRY(save_system_registers(state));
  SPORE_TRY(save_events(state));
  SPORE_TRY(save_msrs(state));
  const int khz = ::ioctl(fd_.get(), KVM_GET_TSC_KHZ, 0);
  state.tsc_khz = khz > 0 ? static_cast<std::uint32_t>(khz) : 0;
  return state;
}

Result<void> KvmVcpu::save_system_registers(isa::CpuState& state) {
  kvm_sregs sregs{};
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_GET_SREGS, &sregs, "reading a vCPU's system registers"));
  state.cs = from_kvm(sregs.cs);
  state.ds = from_kvm(sregs.ds);
  state.es = from_kvm(sregs.es);
  state.fs = from_kvm(sregs.fs);
  state.gs = from_kvm(sregs.gs);
  state.ss = from_kvm(sregs.ss);
  state.tr = from_kvm(sregs.tr);
  state.ldt = from_kvm(sregs.ldt);
  state.gdt = {sregs.gdt.base, sregs.gdt.limit};
  state.idt = {sregs.idt.base, sregs.idt.limit};
  state.cr0 = sregs.cr0;
  state.cr2 = sregs.cr2;
  state.cr3 = sregs.cr3;
  state.cr4 = sregs.cr4;
  state.cr8 = sregs.cr8;
  state.efer = sregs.efer;
  state.apic_base = sregs.apic_base;
  std::copy(std::begin(sregs.interrupt_bitmap), std::end(sregs.interrupt_bitmap),
            state.interrupt_bitmap.begin());

  kvm_debugregs debug{};
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_GET_DEBUGREGS, &debug, "reading a vCPU's debug registers"));
  std::copy(std::begin(debug.db), std::end(debug.db), state.db.begin());
  state.dr6 = debug.dr6;
  state.dr7 = debug.dr7;

  kvm_xcrs xcrs{};
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_GET_XCRS, &xcrs, "reading a vCPU's XCRs"));
  for (std::uint32_t i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; ++i) {
    if (xcrs.xcrs[i].xcr == 0) {
      state.xcr0 = xcrs.xcrs[i].value;
    }
  }
  state.xsave.resize(system_->xsave_size());
  const unsigned long get_xsave =
      system_->xsave_size() > sizeof(XsaveArea) ? kGetXsave2 : kGetXsave;
  SPORE_TRY(kvm_ioctl(fd_.get(), get_xsave, state.xsave.data(), "reading a vCPU's XSAVE area"));
  state.lapic.resize(sizeof(kvm_lapic_state));
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_GET_LAPIC, state.lapic.data(), "reading a vCPU's local APIC"));
  return {};
}

Result<void> KvmVcpu::save_events(isa::CpuState& state) {
  kvm_vcpu_events events{};
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_GET_VCPU_EVENTS, &events, "reading a vCPU's pending events"));
  // KVM_CAP_EXCEPTION_PAYLOAD is not enabled: KVM reports pending exceptions as injected ones.
  isa::PendingEvents& pending = state.events;
  pending.exception_injected = events.exception.injected != 0;
  pending.exception_vector = events.exception.nr;
  pending.exception_has_error_code = events.exception.has_error_code != 0;
  pending.exception_error_code = events.exception.error_code;
  pending.interrupt_injected = events.interrupt.injected != 0;
  pending.interrupt_vector = events.interrupt.nr;
  pending.interrupt_soft = events.interrupt.soft != 0;
  pending.interrupt_shadow = events.interrupt.shadow;
  pending.nmi_injected = events.nmi.injected != 0;
  pending.nmi_pending = events.nmi.pending != 0;
  pending.nmi_masked = events.nmi.masked != 0;
  return {};
}

Result<void> KvmVcpu::save_msrs(isa::CpuState& state) {
  std::vector<std::uint32_t> wanted;
  for (const std::uint32_t index : system_->msr_indices()) {
    if (index != kMsrApicBase && index != kMsrEfer && index != kMsrTsc &&
        index != kMsrTscDeadline && !is_hyperv_msr(index)) {
      wanted.push_back(index);
    }
  }
  wanted.push_back(kMsrTscDeadline);
  wanted.push_back(kMsrTsc);  // last: as near as can be to the moment of the capture's end
  std::size_t next = 0;
  while (next < wanted.size()) {
    MsrTable table(wanted.size() - next);
    for (std::size_t i = next; i < wanted.size(); ++i) {
      table.entries()[i - next].index = wanted[i];
    }
    SPORE_ASSIGN(const int got,
                 kvm_ioctl(fd_.get(), kGetMsrs, table.data(), "reading a vCPU's MSRs"));
    for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) {
      const kvm_msr_entry& entry = table.entries()[i];
      if (entry.index == kMsrTsc) {
        state.tsc = entry.data;
      } else if (entry.index == kMsrTscDeadline) {
        state.tsc_deadline = entry.data;
      } else {
        state.msrs.push_back({entry.index, entry.data});
      }
    }
    // KVM stops at the first MSR that this vCPU's CPUID does not have: there is nothing to save.
    next += static_cast<std::size_t>(got) + 1;
  }
  return {};
}

Result<void> KvmVcpu::restore(const isa::CpuState& state) {
  if (state.xsave.size() > system_->xsave_size() || state.lapic.size() != sizeof(kvm_lapic_state)) {
    return fail(
        ErrorCode::kCorrupt,
        fmt::format("restoring a vCPU: its XSAVE area has {} bytes (this host: {}), its local "
                    "APIC {} (always {})",
                    state.xsave.size(), system_->xsave_size(), state.lapic.size(),
                    sizeof(kvm_lapic_state)));
  }
  const auto known = std::find_if(kMpStates.begin(), kMpStates.end(),
                                  [&](const auto& pair) { return pair.first == state.mp_state; });
  if (known == kMpStates.end()) {
    return fail(ErrorCode::kCorrupt, "restoring a vCPU: its run state is unknown");
  }
  const bool pristine = std::exchange(pristine_, false);
  SPORE_TRY(set_tsc_khz(state.tsc_khz));
  SPORE_TRY(restore_system_registers(state));
  if (!pristine || !has_reset_debug_registers(state)) {
    kvm_debugregs debug{};
    std::copy(state.db.begin(), state.db.end(), debug.db);
    debug.dr6 = state.dr6;
    debug.dr7 = state.dr7;
    SPORE_TRY(kvm_ioctl(fd_.get(), KVM_SET_DEBUGREGS, &debug, "setting a vCPU's debug registers"));
  }
  // All in one call: each costs as much as any other change to a vCPU.
  std::vector<isa::Msr> msrs(state.msrs);
  // KVM takes a TSC value less than a second away from the last one for an attempt to synchronize
  // vCPUs, and keeps the last one's. Wanted for the others, so that all agree; not for the first.
  if (index_ == 0) {
    constexpr std::uint64_t kFarAway = std::uint64_t{1} << 44;
    msrs.push_back({kMsrTsc, state.tsc + kFarAway});
  }
  msrs.push_back({kMsrTsc, state.tsc});
  msrs.push_back({kMsrTscDeadline, state.tsc_deadline});
  SPORE_TRY(restore_msrs(msrs));

  kvm_sync_regs& deferred = area().s.regs;
  const auto& g = state.gpr;
  deferred.regs = {g[isa::kRax], g[isa::kRbx], g[isa::kRcx], g[isa::kRdx], g[isa::kRsi],
                   g[isa::kRdi], g[isa::kRsp], g[isa::kRbp], g[isa::kR8],  g[isa::kR9],
                   g[isa::kR10], g[isa::kR11], g[isa::kR12], g[isa::kR13], g[isa::kR14],
                   g[isa::kR15], state.rip,    state.rflags};
  deferred.events = to_kvm(state.events);
  area().kvm_dirty_regs = kDeferred;
  // A vCPU that waits for its start is given registers by that, before its KVM_RUN would.
  if ((system_->set_at_run() & kDeferred) != kDeferred ||
      (known->second != KVM_MP_STATE_RUNNABLE && known->second != KVM_MP_STATE_HALTED)) {
    SPORE_TRY(apply_deferred());
  }
  if (pristine && index_ == 0 && known->second == KVM_MP_STATE_RUNNABLE) {
    return {};
  }
  kvm_mp_state mp{static_cast<std::uint32_t>(known->second)};
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_SET_MP_STATE, &mp, "setting a vCPU's run state"));
  return {};
}

Result<void> KvmVcpu::apply_deferred() {
  if (std::exchange(area().kvm_dirty_regs, 0) == 0) {
    return {};
  }
  kvm_sync_regs& deferred = area().s.regs;
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_SET_REGS, &deferred.regs, "setting a vCPU's registers"));
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_SET_VCPU_EVENTS, &deferred.events,
                      "setting a vCPU's pending events"));
  return {};
}

Result<void> KvmVcpu::set_tsc_khz(std::uint32_t wanted) {
  if (wanted == 0 || wanted == tsc_khz_) {
    return {};
  }
  const int khz = ::ioctl(fd_.get(), KVM_GET_TSC_KHZ, 0);
  if (khz != static_cast<int>(wanted) &&
      ::ioctl(fd_.get(), KVM_SET_TSC_KHZ, static_cast<unsigned long>(wanted)) < 0) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("restoring a vCPU: its TSC ran at {} kHz, this host's runs at {} kHz "
                            "and cannot be scaled",
                            wanted, khz));
  }
  tsc_khz_ = wanted;
  return {};
}

Result<void> KvmVcpu::restore_system_registers(const isa::CpuState& state) {
  kvm_sregs sregs{};
  sregs.cs = to_kvm(state.cs);
  sregs.ds = to_kvm(state.ds);
  sregs.es = to_kvm(state.es);
  sregs.fs = to_kvm(state.fs);
  sregs.gs = to_kvm(state.gs);
  sregs.ss = to_kvm(state.ss);
  sregs.tr = to_kvm(state.tr);
  sregs.ldt = to_kvm(state.ldt);
  sregs.gdt = to_kvm(state.gdt);
  sregs.idt = to_kvm(state.idt);
  sregs.cr0 = state.cr0;
  sregs.cr2 = state.cr2;
  sregs.cr3 = state.cr3;
  sregs.cr4 = state.cr4;
  sregs.cr8 = state.cr8;
  sregs.efer = state.efer;
  sregs.apic_base = state.apic_base;
  std::copy(state.interrupt_bitmap.begin(), state.interrupt_bitmap.end(), sregs.interrupt_bitmap);
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_SET_SREGS, &sregs, "setting a vCPU's system registers"));

  kvm_xcrs xcrs{};
  xcrs.nr_xcrs = 1;
  xcrs.xcrs[0].value = state.xcr0;
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_SET_XCRS, &xcrs, "setting a vCPU's XCRs"));
  std::vector<std::byte> xsave(state.xsave);
  xsave.resize(system_->xsave_size());
  SPORE_TRY(kvm_ioctl(fd_.get(), kSetXsave, xsave.data(), "setting a vCPU's XSAVE area"));
  kvm_lapic_state lapic{};
  std::memcpy(lapic.regs, state.lapic.data(), sizeof(lapic.regs));
  SPORE_TRY(kvm_ioctl(fd_.get(), KVM_SET_LAPIC, &lapic, "setting a vCPU's local APIC"));
  return {};
}

Result<void> KvmVcpu::restore_msrs(const std::vector<isa::Msr>& msrs) {
  std::vector<isa::Msr> wanted;
  for (const isa::Msr& msr : msrs) {
    if (!system_->is_read_only_msr(msr.index)) {
      wanted.push_back(msr);
    }
  }
  std::size_t next = 0;
  while (next < wanted.size()) {
    MsrTable table(wanted.size() - next);
    for (std::size_t i = next; i < wanted.size(); ++i) {
      table.entries()[i - next].index = wanted[i].index;
      table.entries()[i - next].data = wanted[i].value;
    }
    SPORE_ASSIGN(const int done,
                 kvm_ioctl(fd_.get(), kSetMsrs, table.data(), "setting a vCPU's MSRs"));
    next += static_cast<std::size_t>(done);
    if (next == wanted.size()) {
      break;
    }
    // Refused. Honest only if the vCPU already shows the wanted value.
    MsrTable probe(1);
    probe.entries()[0].index = wanted[next].index;
    SPORE_ASSIGN(const int got,
                 kvm_ioctl(fd_.get(), kGetMsrs, probe.data(), "reading a vCPU's MSR"));
    if (got != 1 || probe.entries()[0].data != wanted[next].value) {
      return fail(ErrorCode::kUnavailable,
                  fmt::format("restoring a vCPU: this host does not take MSR {:#x} = {:#x}",
                              wanted[next].index, wanted[next].value));
    }
    system_->remember_read_only_msr(wanted[next].index);
    ++next;
  }
  return {};
}

}  // namespace spore::kvm
