// Guest kernels: the newest in /boot, or one that is given. A bzImage is unpacked once, on the
// host, to the ELF file inside it, so that a machine's loader neither decompresses nor relocates.
// Hostile bytes: the whole kernel file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "image/cache.h"
#include "spore/result.h"

namespace spore::image {

struct Kernel {
  std::string path;      // as found or given
  std::string release;   // what `uname -r` says in the guest; names the folder in /lib/modules
  std::string elf_path;  // an uncompressed ELF vmlinux: `path` itself, or a file in the cache
};

// The newest /boot/vmlinuz-*, or `path` when it is not empty: a bzImage or an ELF vmlinux.
Result<Kernel> find_kernel(std::string_view path);
Result<Kernel> find_kernel(std::string_view path, const Cache& cache,
                           const std::string& boot_directory);

// What the first bytes of a kernel file say.
struct KernelHeader {
  enum class Kind { kElf, kBzImage };
  Kind kind = Kind::kElf;
  std::string release;               // kBzImage only
  std::uint64_t payload_offset = 0;  // kBzImage only: the compressed ELF, and its own size word
  std::uint64_t payload_length = 0;
};

inline constexpr std::size_t kKernelHeaderBytes = 64 * 1024;

// `head` is the file's first kKernelHeaderBytes bytes (or all it has); `file_size` the file's size.
// The Error says what is wrong with the file, to be put after its name.
Result<KernelHeader> parse_kernel_header(std::string_view head, std::uint64_t file_size);

// Checks that an unpacked kernel is a whole ELF kernel of this architecture.
Result<void> check_kernel_elf(std::string_view head, std::uint64_t file_size);

}  // namespace spore::image
