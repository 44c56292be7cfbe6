#include "micro.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/check.h"
#include "isa/board.h"
#include "support/micro_guest.h"
#include "wire/generation_page.h"

namespace spore::bench {
namespace {

// mov edi, 16 MiB; loop: cmp edi, ecx; jae done; mov [rdi], edi; add edi, 4096; jmp loop;
// done: mov edi, doorbell; mov eax, kPowerOff; mov [rdi + 8], eax
constexpr auto kProgram =
    std::to_array<std::uint8_t>({0xbf, 0x00, 0x00, 0x00, 0x01, 0x39, 0xcf, 0x73, 0x0a, 0x89, 0x3f,
                                 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, 0xeb, 0xf2, 0xbf, 0x00, 0x00,
                                 0x01, 0xd0, 0xb8, 2,    0,    0,    0,    0x89, 0x47, 0x08});
static_assert(isa::kDoorbell == 0xd0010000 && wire::kDoorbellRegRing == 8);

}  // namespace

double microseconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::micro>(to - from).count();
}

void Waiter::on_ended(const MachineEnd& end) {
  const std::lock_guard lock(mutex_);
  SPORE_CHECK(end.reason == EndReason::kPoweredOff);
  ended_ = true;
  changed_.notify_all();
}

void Waiter::await_end() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ended_; });
}

std::shared_ptr<const vm::Capture> capture_micro_guest(vm::Hypervisor& hypervisor,
                                                       std::uint64_t memory_bytes,
                                                       std::uint32_t written_pages,
                                                       std::string_view content) {
  testing::MicroGuest guest = testing::make_micro_guest(hypervisor, kProgram);
  vm::Capture capture;
  capture.config = {memory_bytes, 1, {}};
  capture.state.cpus = {guest.vcpu->save().value()};
  capture.state.cpus.front().gpr[isa::kRcx] = (kFirstWrittenPage + written_pages) * 4096;
  capture.state.clock = guest.machine->save_clock().value();
  capture.generation.id = std::string(32, 'a');
  auto ram = memory::Ram::create(isa::ram_layout(memory_bytes)).value();
  isa::CpuState unused = capture.state.cpus.front();
  testing::load_micro_guest(ram->memory(), kProgram, unused);
  for (std::uint64_t page = 0; page < written_pages; ++page) {
    SPORE_CHECK(ram->memory().store((kFirstWrittenPage + page) * 4096 + 8, page));
  }
  if (!content.empty()) {
    const auto* bytes = reinterpret_cast<const std::byte*>(content.data());
    SPORE_CHECK(ram->memory().write(kContentAt, {bytes, content.size()}));
  }
  capture.ram = ram->capture().value();
  return std::make_shared<const vm::Capture>(std::move(capture));
}

Generation child_of(const vm::Capture& capture) {
  Generation generation;
  generation.number = 1;
  generation.id = std::string(32, 'b');
  generation.parent_id = capture.generation.id;
  return generation;
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
}

void report(std::string_view name, std::uint64_t mib, const std::vector<double>& values) {
  fmt::print("{{\"name\": \"{}\", \"memory_mib\": {}, \"p50_us\": {:.2f}, \"p99_us\": {:.2f}}}\n",
             name, mib, quantile(values, 0.5), quantile(values, 0.99));
}

}  // namespace spore::bench
