#include "image/kernel.h"

#include <elf.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <bit>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>
#include <type_traits>

#include "base/digest.h"
#include "base/mapping.h"
#include "image/elf.h"
#include "image/files.h"

namespace spore::image {
namespace {

static_assert(std::endian::native == std::endian::little);

// Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
constexpr std::uint64_t kSetupSects = 0x1f1;
constexpr std::uint64_t kBootFlag = 0x1fe;
constexpr std::uint64_t kHeaderMagic = 0x202;
constexpr std::uint64_t kProtocolVersion = 0x206;
constexpr std::uint64_t kKernelVersion = 0x20e;
constexpr std::uint64_t kXloadflags = 0x236;
constexpr std::uint64_t kPayloadOffset = 0x248;
constexpr std::uint64_t kPayloadLength = 0x24c;
constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint16_t kProtocol2_12 = 0x020c;  // the first with xloadflags
constexpr std::uint16_t kXlfKernel64 = 1;
// Linux, arch/arm64/include/asm/image.h: the magic of an arm64 Image.
constexpr std::uint64_t kArm64Magic = 56;

constexpr std::uint64_t kMaxUnpackedBytes = 1024ull * 1024 * 1024;
constexpr std::uint64_t kMaxPackedBytes = 256ull * 1024 * 1024;
constexpr std::size_t kMaxReleaseLength = 128;
constexpr std::string_view kCacheVersion = "kernel-1";
constexpr std::string_view kAdvice =
    "install a kernel (Debian and Ubuntu: apt-get install linux-image-amd64) or name one with "
    "--kernel";

// The value at `offset`, if the bytes reach that far.
template <typename T>
std::optional<T> read_at(std::string_view bytes, std::uint64_t offset) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) {
    return std::nullopt;
  }
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// The first word, if it looks like a release: no folder in /lib/modules has other characters.
std::string release_word(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size() && length < kMaxReleaseLength &&
         (std::isalnum(static_cast<unsigned char>(text[length])) != 0 ||
          std::string_view("._+~-").find(text[length]) != std::string_view::npos)) {
    ++length;
  }
  const bool sane = length > 0 && std::isdigit(static_cast<unsigned char>(text[0])) != 0;
  return sane ? std::string(text.substr(0, length)) : std::string();
}

Result<KernelHeader> parse_bzimage(std::string_view head, std::uint64_t file_size) {
  const auto protocol = read_at<std::uint16_t>(head, kProtocolVersion);
  const auto version_offset = read_at<std::uint16_t>(head, kKernelVersion);
  const auto xloadflags = read_at<std::uint16_t>(head, kXloadflags);
  const auto payload_offset = read_at<std::uint32_t>(head, kPayloadOffset);
  const auto payload_length = read_at<std::uint32_t>(head, kPayloadLength);
  const auto setup_sects = read_at<std::uint8_t>(head, kSetupSects);
  if (!protocol || !version_offset || !xloadflags || !payload_offset || !payload_length ||
      !setup_sects) {
    return fail(ErrorCode::kCorrupt, "it is truncated inside its setup header");
  }
  if (*protocol < kProtocol2_12) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("its boot protocol {}.{:02} is too old: 2.12 (Linux 3.8) is needed",
                            *protocol >> 8, *protocol & 0xff));
  }
  if ((*xloadflags & kXlfKernel64) == 0) {
    return fail(ErrorCode::kInvalidArgument, "it is a 32-bit kernel; a 64-bit one is needed");
  }
  KernelHeader header;
  header.kind = KernelHeader::Kind::kBzImage;
  // boot.rst: "if setup_sects contains 0, the real value is 4".
  const std::uint64_t setup = (*setup_sects == 0 ? 4u : *setup_sects) + 1u;
  header.payload_offset = setup * kSectorBytes + *payload_offset;
  header.payload_length = *payload_length;
  if (header.payload_length < sizeof(std::uint32_t) ||
      header.payload_offset + header.payload_length > file_size) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("it is truncated: its payload ends at byte {}, the file at {}",
                            header.payload_offset + header.payload_length, file_size));
  }
  if (*version_offset != 0 && *version_offset + kSectorBytes < head.size()) {
    header.release = release_word(head.substr(*version_offset + kSectorBytes));
  }
  if (header.release.empty()) {
    return fail(ErrorCode::kCorrupt, "its header names no kernel version");
  }
  return header;
}

tl::unexpected<Error> wrong_architecture(std::string_view found) {
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("it is a kernel for {}; this machine runs x86_64", found));
}

Result<std::string> newest_kernel(const std::string& boot_directory) {
  constexpr std::string_view kPrefix = "vmlinuz-";
  std::string newest;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(boot_directory, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kPrefix) && !name.ends_with(".old") && !name.ends_with(".sig") &&
        (newest.empty() || ::strverscmp(newest.c_str(), name.c_str()) < 0)) {
      newest = name;
    }
  }
  if (newest.empty()) {
    return fail(ErrorCode::kNotFound,
                fmt::format("find a guest kernel: there is no vmlinuz-* in {}; {}", boot_directory,
                            kAdvice));
  }
  return fmt::format("{}/{}", boot_directory, newest);
}

// The release in the kernel's banner, which is all that an ELF vmlinux says about it.
Result<std::string> release_of_elf(const base::UniqueFd& fd, std::uint64_t size) {
  SPORE_ASSIGN(const base::Mapping mapping,
               base::Mapping::create(size, PROT_READ, MAP_PRIVATE, fd.get(), 0, "map the file"));
  const std::string_view bytes(reinterpret_cast<const char*>(mapping.data()), mapping.size());
  constexpr std::string_view kBanner = "Linux version ";
  for (std::size_t at = 0;; at += kBanner.size()) {
    const void* found =
        ::memmem(bytes.data() + at, bytes.size() - at, kBanner.data(), kBanner.size());
    if (found == nullptr) {
      return fail(ErrorCode::kInvalidArgument,
                  "it is an ELF file but no Linux kernel (there is no \"Linux version\" in it)");
    }
    at = static_cast<std::size_t>(static_cast<const char*>(found) - bytes.data());
    std::string release = release_word(bytes.substr(at + kBanner.size()));
    if (!release.empty()) {
      return release;
    }
  }
}

Result<void> unpack_kernel(const std::string& path, const KernelHeader& header, int output) {
  if (header.payload_length > kMaxPackedBytes) {
    return fail(ErrorCode::kCorrupt, "its payload is larger than any kernel");
  }
  SPORE_ASSIGN(const std::string bytes, read_file(path, 2 * kMaxPackedBytes));
  if (bytes.size() < header.payload_offset + header.payload_length) {
    return fail(ErrorCode::kCorrupt, "it changed while it was read");
  }
  const std::string_view payload =
      std::string_view(bytes).substr(header.payload_offset, header.payload_length);
  // The build appends the unpacked size, where the compression's own format does not end with it.
  const auto unpacked_size =
      read_at<std::uint32_t>(payload, payload.size() - sizeof(std::uint32_t)).value_or(0);
  if (unpacked_size < sizeof(Elf64_Ehdr) || unpacked_size > kMaxUnpackedBytes) {
    return fail(ErrorCode::kCorrupt, "its payload says a size that no kernel has");
  }
  // gzip's own format ends with that size; the others' readers would trip over it.
  const bool gzip = payload.starts_with("\x1f\x8b");
  const std::string_view packed =
      payload.substr(0, payload.size() - (gzip ? 0 : sizeof(std::uint32_t)));
  SPORE_ASSIGN(const std::string elf,
               unpack(packed, unpacked_size, kMaxUnpackedBytes, "its payload"));
  SPORE_TRY(check_kernel_elf(elf, elf.size()));
  return write_all(output, elf, "the unpacked kernel");
}

Result<Kernel> open_kernel(const std::string& path, const Cache& cache) {
  SPORE_ASSIGN(const base::UniqueFd fd, open_to_read(path));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return fail(Error::from_errno(errno, "read it"));
  }
  if (!S_ISREG(status.st_mode)) {
    return fail(ErrorCode::kInvalidArgument, "it is not a file");
  }
  const auto file_size = static_cast<std::uint64_t>(status.st_size);
  SPORE_ASSIGN(const std::string head, read_start(fd.get(), kKernelHeaderBytes));
  SPORE_ASSIGN(const KernelHeader header, parse_kernel_header(head, file_size));
  if (header.kind == KernelHeader::Kind::kElf) {
    SPORE_ASSIGN(std::string release, release_of_elf(fd, file_size));
    return Kernel{path, std::move(release), path};
  }
  base::Sha256 key;
  key.field(kCacheVersion);
  key.field(path);
  key.size_and_mtime(status);
  SPORE_ASSIGN(std::string elf_path,
               cache.get(fmt::format("{}.vmlinux", key.finish()),
                         [&](int output) { return unpack_kernel(path, header, output); }));
  return Kernel{path, header.release, std::move(elf_path)};
}

}  // namespace

Result<KernelHeader> parse_kernel_header(std::string_view head, std::uint64_t file_size) {
  if (head.starts_with(std::string_view(ELFMAG, SELFMAG))) {
    SPORE_TRY(check_kernel_elf(head, file_size));
    return KernelHeader{};
  }
  if (head.size() > kArm64Magic && head.substr(kArm64Magic).starts_with("ARM\x64")) {
    return wrong_architecture("aarch64");
  }
  const auto boot_flag = read_at<std::uint16_t>(head, kBootFlag);
  if (boot_flag == 0xaa55 && head.size() > kHeaderMagic &&
      head.substr(kHeaderMagic).starts_with("HdrS")) {
    return parse_bzimage(head, file_size);
  }
  return fail(ErrorCode::kInvalidArgument,
              "it is not a kernel: neither a bzImage nor an ELF vmlinux");
}

Result<void> check_kernel_elf(std::string_view head, std::uint64_t file_size) {
  const auto header = read_at<Elf64_Ehdr>(head, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
    return fail(ErrorCode::kCorrupt, "it holds no ELF kernel");
  }
  if (header->e_machine != EM_X86_64) {
    return wrong_architecture(elf_machine_name(header->e_machine));
  }
  if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
      (header->e_type != ET_EXEC && header->e_type != ET_DYN) ||
      header->e_phentsize != sizeof(Elf64_Phdr)) {
    return fail(ErrorCode::kCorrupt, "its ELF header is not that of a 64-bit kernel");
  }
  bool loads = false;
  for (std::uint64_t i = 0; i < header->e_phnum; ++i) {
    if (header->e_phoff > head.size()) {
      return fail(ErrorCode::kCorrupt, "its program headers lie outside the file");
    }
    const auto segment = read_at<Elf64_Phdr>(head, header->e_phoff + i * sizeof(Elf64_Phdr));
    if (!segment) {
      return fail(ErrorCode::kCorrupt, "its program headers lie outside the file");
    }
    if (segment->p_type != PT_LOAD) {
      continue;
    }
    loads = true;
    if (segment->p_offset > file_size || file_size - segment->p_offset < segment->p_filesz ||
        segment->p_memsz < segment->p_filesz) {
      return fail(ErrorCode::kCorrupt, "it is truncated: a segment lies outside the file");
    }
  }
  if (!loads) {
    return fail(ErrorCode::kCorrupt, "it is an ELF file with nothing to load");
  }
  return {};
}

Result<Kernel> find_kernel(std::string_view path, const Cache& cache,
                           const std::string& boot_directory) {
  std::string chosen(path);
  if (chosen.empty()) {
    SPORE_ASSIGN(chosen, newest_kernel(boot_directory));
  }
  chosen = std::filesystem::absolute(chosen).lexically_normal().string();
  auto kernel = open_kernel(chosen, cache);
  if (!kernel) {
    return fail(kernel.error().with_context(fmt::format("use {} as the guest kernel", chosen)));
  }
  return kernel;
}

Result<Kernel> find_kernel(std::string_view path) {
  SPORE_ASSIGN(const Cache cache, Cache::open());
  return find_kernel(path, cache, "/boot");
}

}  // namespace spore::image
