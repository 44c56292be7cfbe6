// QEMU as the nest's hardware: where it is, which version, and the command line of the nest.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "spore/result.h"

namespace spore::nest {

struct QemuVersion {
  int major = 0;
  int minor = 0;
  int micro = 0;
  [[nodiscard]] std::string text() const;
};

struct Qemu {
  std::string path;
  QemuVersion version;
};

// From the first line of `qemu-system-x86_64 --version`.
Result<QemuVersion> parse_qemu_version(std::string_view output);

// $SPORE_QEMU, else qemu-system-x86_64 in PATH. kUnavailable says which package has it.
Result<Qemu> find_qemu();

struct NestMachine {
  std::string kernel;
  std::string initramfs;
  std::string console_log;
  std::uint64_t memory_bytes = 0;
  std::uint64_t idle_seconds = 0;
  unsigned cpus = 2;                      // that run machines; CPU 0, which is one more, does not
  std::vector<std::string> port_sockets;  // port N is the virtio-serial port "spore.N"
};

// argv of the QEMU that is the nest.
std::vector<std::string> qemu_command(const Qemu& qemu, const NestMachine& machine);

}  // namespace spore::nest
