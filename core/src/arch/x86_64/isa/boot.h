// Direct boot of a Linux kernel: the ELF vmlinux is loaded where its headers say and entered by the
// 64-bit boot protocol (Documentation/x86/boot.rst), with an initramfs and a command line. The
// bytes of the kernel come from a file and are checked.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "isa/cpu_state.h"
#include "memory/guest_memory.h"
#include "spore/result.h"

namespace spore::isa {

struct BootImage {
  std::span<const std::byte> kernel;  // ELF vmlinux
  std::span<const std::byte> initramfs;
  std::string command_line;  // what this board adds comes in front
};

// Writes kernel, initramfs, tables and boot parameters into memory, and changes `first_cpu` (as the
// hypervisor made it) so that it enters the kernel. Too little memory is kInvalidArgument and says
// how much is needed.
Result<void> load_linux(const memory::GuestMemory& memory, std::uint32_t cpus,
                        const BootImage& image, CpuState& first_cpu);

// The board's own part of the kernel command line.
std::string board_command_line();

}  // namespace spore::isa
