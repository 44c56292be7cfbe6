// What an ELF file says about how it is loaded: its interpreter and the libraries it needs.
// Hostile bytes: all of the file. Every offset and count is checked and bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "spore/result.h"

namespace spore::image {

struct ElfInfo {
  std::uint16_t machine = 0;  // EM_*
  std::string interpreter;    // PT_INTERP; empty: static, or a library
  std::vector<std::string> needed;
  std::vector<std::string> rpath;    // DT_RPATH, as written ($ORIGIN not replaced)
  std::vector<std::string> runpath;  // DT_RUNPATH
};

// Copies `size` bytes at `offset` of the file to `to`; false if the file does not have them.
using ByteReader = std::function<bool(std::uint64_t offset, void* to, std::size_t size)>;

// The Error says what is wrong, to be put after the file's name.
Result<ElfInfo> parse_elf(const ByteReader& read);

// Readers of a string in memory (which must outlive it) and of a descriptor (a borrow).
ByteReader memory_reader(std::string_view bytes);
ByteReader file_reader(int fd);

// "x86_64", "aarch64", ...
std::string_view elf_machine_name(std::uint16_t machine) noexcept;
// The architecture of this build.
std::uint16_t host_machine() noexcept;

}  // namespace spore::image
