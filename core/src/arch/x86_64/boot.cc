#include "isa/boot.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/boot_cpu.h"
#include "arch/x86_64/boot_params.h"
#include "base/check.h"
#include "isa/board.h"

namespace spore::isa {
namespace {

constexpr memory::GuestAddress kBootParams = 0x7000;
constexpr memory::GuestAddress kCommandLineAddress = 0x20000;
constexpr std::size_t kCommandLineMax = 2048;
constexpr memory::GuestAddress kLowRamEnd = 0x9fc00;
constexpr memory::GuestAddress kHighRamStart = 0x100000;
constexpr std::uint64_t kPageSize = 4096;
constexpr std::uint64_t kMiB = 1024 * 1024;
// What a kernel needs above its image and initramfs to come up at all.
constexpr std::uint64_t kWorkingMemory = 32 * kMiB;

template <typename T>
bool copy_out(std::span<const std::byte> bytes, std::uint64_t offset, T& value) {
  if (offset > bytes.size() || sizeof(T) > bytes.size() - offset) {
    return false;
  }
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return true;
}

tl::unexpected<Error> bad_kernel(std::string_view why) {
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format("loading the guest kernel: {}; give a distribution's x86_64 kernel", why));
}

struct LoadedKernel {
  memory::GuestAddress entry = 0;
  memory::GuestAddress end = 0;
};

Result<LoadedKernel> load_elf(const memory::GuestMemory& memory, std::span<const std::byte> file) {
  Elf64_Ehdr header;
  if (!copy_out(file, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64) {
    return bad_kernel("it is no 64-bit ELF file");
  }
  if (header.e_machine != EM_X86_64) {
    return bad_kernel("it is for another architecture");
  }
  LoadedKernel loaded{header.e_entry, 0};
  for (std::uint64_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (header.e_phentsize != sizeof(segment) ||
        !copy_out(file, header.e_phoff + i * sizeof(segment), segment)) {
      return bad_kernel("its program headers lie outside the file");
    }
    if (segment.p_type != PT_LOAD) {
      continue;
    }
    if (segment.p_offset > file.size() || segment.p_filesz > file.size() - segment.p_offset ||
        segment.p_filesz > segment.p_memsz || segment.p_paddr < kHighRamStart) {
      return bad_kernel("a segment lies outside the file, or below 1 MiB");
    }
    const auto target = memory.writable(segment.p_paddr, segment.p_memsz);
    if (!target) {
      return fail(
          ErrorCode::kInvalidArgument,
          fmt::format("loading the guest kernel: memory too small, it needs RAM up to {} MiB",
                      (segment.p_paddr + segment.p_memsz + kWorkingMemory) / kMiB + 1));
    }
    std::memcpy(target->data(), file.data() + segment.p_offset, segment.p_filesz);
    loaded.end = std::max(loaded.end, segment.p_paddr + segment.p_memsz);
  }
  if (loaded.end == 0 || loaded.entry < kHighRamStart || loaded.entry >= loaded.end) {
    return bad_kernel("it has nothing to load, or its entry point lies outside");
  }
  return loaded;
}

// At the top of low RAM, where the kernel expects it.
Result<memory::GuestAddress> load_initramfs(const memory::GuestMemory& memory,
                                            std::span<const std::byte> initramfs,
                                            memory::GuestAddress kernel_end) {
  const std::uint64_t low_ram = memory.regions().front().bytes.size();
  const std::uint64_t size = (initramfs.size() + kPageSize - 1) & ~(kPageSize - 1);
  if (low_ram < kernel_end + size + kWorkingMemory) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("loading the initramfs: memory too small, at least {} MiB are needed",
                            (kernel_end + size + kWorkingMemory) / kMiB + 1));
  }
  const memory::GuestAddress address = low_ram - size;
  SPORE_CHECK(memory.write(address, initramfs));
  return address;
}

struct E820Entry {
  std::uint64_t address;
  std::uint64_t size;
  std::uint32_t type;
};

std::vector<E820Entry> memory_map(const memory::GuestMemory& memory) {
  using boot_params::kE820Ram;
  using boot_params::kE820Reserved;
  const std::uint64_t low_ram = memory.regions().front().bytes.size();
  std::vector<E820Entry> map = {
      {0, kLowRamEnd, kE820Ram},
      {kLowRamEnd, kHighRamStart - kLowRamEnd, kE820Reserved},
      {kHighRamStart, low_ram - kHighRamStart, kE820Ram},
  };
  for (std::size_t i = 1; i < memory.regions().size(); ++i) {
    map.push_back({memory.regions()[i].base, memory.regions()[i].bytes.size(), kE820Ram});
  }
  return map;
}

void write_boot_params(const memory::GuestMemory& memory, memory::GuestAddress rsdp,
                       memory::GuestAddress initramfs, std::size_t initramfs_size,
                       std::size_t command_line_size) {
  const auto page = memory.writable(kBootParams, boot_params::kSize);
  SPORE_CHECK(page.has_value());
  std::memset(page->data(), 0, page->size());
  const auto put = [&page]<typename T>(std::size_t offset, T value) {
    std::memcpy(page->data() + offset, &value, sizeof(value));
  };
  put(boot_params::kAcpiRsdpAddress, std::uint64_t{rsdp});
  put(boot_params::kBootFlag, std::uint16_t{0xaa55});
  put(boot_params::kHeaderMagic, std::uint32_t{0x53726448});
  put(boot_params::kVersion, std::uint16_t{0x020c});
  put(boot_params::kTypeOfLoader, std::uint8_t{0xff});
  put(boot_params::kLoadFlags, std::uint8_t{1});  // loaded high
  put(boot_params::kRamdiskImage, static_cast<std::uint32_t>(initramfs));
  put(boot_params::kRamdiskSize, static_cast<std::uint32_t>(initramfs_size));
  put(boot_params::kCommandLine, static_cast<std::uint32_t>(kCommandLineAddress));
  put(boot_params::kCommandLineSize, static_cast<std::uint32_t>(command_line_size));
  put(boot_params::kKernelAlignment, std::uint32_t{0x1000000});

  const std::vector<E820Entry> map = memory_map(memory);
  put(boot_params::kE820Entries, static_cast<std::uint8_t>(map.size()));
  std::size_t offset = boot_params::kE820Table;
  for (const E820Entry& entry : map) {
    put(offset, entry.address);
    put(offset + 8, entry.size);
    put(offset + 16, entry.type);
    offset += 20;
  }
}

}  // namespace

std::vector<memory::RamPiece> ram_layout(std::uint64_t bytes) {
  constexpr std::uint64_t kLowLimit = 3ULL << 30;
  constexpr std::uint64_t kHighBase = 4ULL << 30;
  if (bytes <= kLowLimit) {
    return {{0, bytes}};
  }
  return {{0, kLowLimit}, {kHighBase, bytes - kLowLimit}};
}

std::string board_command_line() {
  // A triple fault is how this board resets: it has neither a keyboard controller nor a reset
  // register.
  return fmt::format(
      "earlycon=uart8250,io,0x3f8 console=ttyS0 8250.nr_uarts=1 panic=-1 reboot=t pci=off "
      "i8042.noprobe no_timer_check "
      "tsc=reliable rdinit=/init spore.generation={:x},{:x}",
      kGenerationPage, kDoorbell);
}

Result<void> load_linux(const memory::GuestMemory& memory, std::uint32_t cpus,
                        const BootImage& image, CpuState& first_cpu) {
  SPORE_ASSIGN(const LoadedKernel kernel, load_elf(memory, image.kernel));
  SPORE_ASSIGN(const memory::GuestAddress initramfs,
               load_initramfs(memory, image.initramfs, kernel.end));
  // The caller's options first: its loglevel is then in force when the early console comes up.
  const std::string command_line = image.command_line + " " + board_command_line();
  if (command_line.size() >= kCommandLineMax) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the kernel command line has {} bytes, {} fit", command_line.size(),
                            kCommandLineMax - 1));
  }
  SPORE_CHECK(memory.write(kCommandLineAddress, std::as_bytes(std::span(command_line.c_str(),
                                                                        command_line.size() + 1))));
  const memory::GuestAddress rsdp = write_acpi_tables(memory, cpus);
  write_boot_params(memory, rsdp, initramfs, image.initramfs.size(), command_line.size());

  enter_long_mode(memory, first_cpu);
  first_cpu.rip = kernel.entry;
  first_cpu.gpr[kRsi] = kBootParams;
  first_cpu.gpr[kRsp] = kBootParams;  // the kernel sets its own before it pushes anything
  return {};
}

}  // namespace spore::isa
