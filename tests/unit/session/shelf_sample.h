// Captured machines that no hypervisor ran, for tests of saving and loading.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mapping.h"
#include "isa/board.h"
#include "memory/memory_file.h"
#include "session/spore_shelf.h"
#include "support/guest_ram.h"
#include "unit/snapshot/sample.h"
#include "vm/device_set.h"

namespace spore::session::test {

using snapshot::test::Page;
using snapshot::test::page_of;
using ImagePtr = std::shared_ptr<const memory::RamImage>;
using Pages = std::map<std::uint32_t, Page>;

inline constexpr std::uint64_t kMemory = 64 * kMiB;
inline constexpr std::size_t kPages = kMemory / memory::kPageSize;

// A whole RAM of these pages.
inline ImagePtr make_ram(const Pages& pages) {
  auto file = memory::create_memory_file(kMemory).value();
  for (const auto& [number, page] : pages) {
    EXPECT_EQ(::pwrite(file.get(), page.data(), page.size(),
                       static_cast<off_t>(number * memory::kPageSize)),
              static_cast<ssize_t>(page.size()));
  }
  return memory::RamImage::flat(std::move(file), kMemory).value();
}

// `parent` but for these pages.
inline ImagePtr make_layer(const ImagePtr& parent, const Pages& pages) {
  const auto ram =
      base::Mapping::create(kMemory, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, "a layer's RAM")
          .value();
  std::vector<std::uint32_t> numbers;
  for (const auto& [number, page] : pages) {
    numbers.push_back(number);
    std::memcpy(ram.data() + number * memory::kPageSize, page.data(), page.size());
  }
  return memory::RamImage::layer(parent, numbers, ram.bytes()).value();
}

// The pages of `image` that are not zero.
inline Pages pages_of(const memory::RamImage& image) {
  static const Page zero(memory::kPageSize);
  Pages pages;
  for (std::uint32_t page = 0; page < image.size() / memory::kPageSize; ++page) {
    const std::byte* bytes = image.page(page);
    if (std::memcmp(bytes, zero.data(), zero.size()) != 0) {
      pages[page] = Page(bytes, bytes + memory::kPageSize);
    }
  }
  return pages;
}

inline std::vector<std::byte> bytes_of(std::size_t size, std::uint8_t seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(i * 7 + seed);
  }
  return bytes;
}

inline isa::CpuState cpu_state(std::uint8_t seed) {
  isa::CpuState cpu;
  for (std::size_t i = 0; i < cpu.gpr.size(); ++i) {
    cpu.gpr[i] = ~std::uint64_t{i} - seed;
  }
  cpu.rip = 0xffffffff81000000 + seed;
  cpu.cs = {1, 2, 3, 4, 1, true, false, true, true, false, true, false};
  cpu.gdt = {0xfffffe0000001000, 0x7f};
  cpu.cr0 = 0x80050033;
  cpu.efer = 0xd01;
  cpu.xsave = bytes_of(832, seed);
  cpu.lapic = bytes_of(1024, seed);
  cpu.msrs = {{0xc0000080, 1}, {0x10, 18446744073709551615U}};
  cpu.tsc = 0x123456789abcdef0;
  cpu.tsc_khz = 1'000'000;
  cpu.events.nmi_masked = true;
  cpu.mp_state = seed == 0 ? isa::MpState::kRunnable : isa::MpState::kHalted;
  return cpu;
}

// Of a machine with `disks` root images whose devices were never used.
inline vm::DeviceSetState device_state(std::vector<std::shared_ptr<virtio::BlockBackend>> disks) {
  const testing::GuestRam ram;
  vm::DeviceSetOptions options;
  options.disks = std::move(disks);
  options.console = [](std::string_view) {};
  options.msi = [](std::uint64_t, std::uint32_t) {};
  options.doorbell = [](wire::DoorbellCommand) {};
  options.agent_bytes = [](std::string_view) {};
  options.agent_closed = [] {};
  return vm::DeviceSet::create(std::move(options), ram.memory(), {}).value()->state();
}

inline vm::VmState vm_state(std::uint32_t cpus,
                            std::vector<std::shared_ptr<virtio::BlockBackend>> disks = {}) {
  vm::VmState state;
  for (std::uint32_t cpu = 0; cpu < cpus; ++cpu) {
    state.cpus.push_back(cpu_state(static_cast<std::uint8_t>(cpu)));
  }
  state.clock.guest_nanoseconds = 123'456'789'012;
  state.devices = device_state(std::move(disks));
  state.devices.generation.number = 2;
  return state;
}

inline Generation generation() {
  Generation generation;
  generation.number = 2;
  generation.id = std::string(32, 'a');
  generation.parent_id = std::string(32, 'b');
  generation.parameters.name = "two";
  generation.parameters.user = {{"key", "välue"}};
  return generation;
}

// A machine with that RAM and those root images.
inline CapturedMachine machine(ImagePtr ram, const std::vector<std::string>& images = {},
                               std::uint32_t cpus = 2) {
  auto capture = std::make_shared<vm::Capture>();
  capture->config = {kMemory, cpus, images};
  for (const std::string& image : images) {
    capture->disks.push_back(virtio::FileBlockBackend::open(image, /*writable=*/false).value());
  }
  capture->state = vm_state(cpus, capture->disks);
  capture->ram = std::move(ram);
  capture->generation = generation();
  return {std::move(capture), {"", std::string(64, 'c')}};
}

}  // namespace spore::session::test
