#include "image/elf.h"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

namespace spore::image {
namespace {

// Far above what linkers write; they bound the work that a hostile file can ask for.
constexpr std::uint64_t kMaxSegments = 256;
constexpr std::uint64_t kMaxDynamicEntries = 16 * 1024;
constexpr std::size_t kMaxString = 4096;
constexpr std::size_t kMaxLibraries = 1024;

tl::unexpected<Error> damaged(std::string_view why) {
  return fail(ErrorCode::kCorrupt, std::string(why));
}

// A NUL-terminated string at an offset of the file.
std::optional<std::string> read_string(const ByteReader& read, std::uint64_t offset) {
  std::string text;
  // Byte by byte only near the end of the file, where a block would reach beyond it.
  for (std::size_t block = 256; text.size() < kMaxString;) {
    char buffer[256];
    if (offset + text.size() < offset) {
      return std::nullopt;
    }
    if (!read(offset + text.size(), buffer, block)) {
      if (block == 1) {
        return std::nullopt;
      }
      block = 1;
      continue;
    }
    const void* end = std::memchr(buffer, '\0', block);
    if (end != nullptr) {
      text.append(buffer, static_cast<std::size_t>(static_cast<const char*>(end) - buffer));
      return text;
    }
    text.append(buffer, block);
  }
  return std::nullopt;
}

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const auto end = std::min(path.find(':'), path.size());
    if (end > 0) {
      parts.emplace_back(path.substr(0, end));
    }
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return parts;
}

// The file's view of its own address space.
class Segments {
 public:
  static Result<Segments> read(const ByteReader& read, const Elf64_Ehdr& header) {
    Segments segments;
    if (header.e_phnum > kMaxSegments) {
      return damaged("it has too many program headers");
    }
    segments.all_.resize(header.e_phnum);
    if (header.e_phnum > 0 &&
        !read(header.e_phoff, segments.all_.data(), segments.all_.size() * sizeof(Elf64_Phdr))) {
      return damaged("it is truncated: its program headers lie outside the file");
    }
    return segments;
  }

  [[nodiscard]] const Elf64_Phdr* find(std::uint32_t type) const {
    for (const Elf64_Phdr& segment : all_) {
      if (segment.p_type == type) {
        return &segment;
      }
    }
    return nullptr;
  }

  [[nodiscard]] std::optional<std::uint64_t> offset_of(std::uint64_t address) const {
    for (const Elf64_Phdr& segment : all_) {
      if (segment.p_type == PT_LOAD && address >= segment.p_vaddr &&
          address - segment.p_vaddr < segment.p_filesz) {
        return segment.p_offset + (address - segment.p_vaddr);
      }
    }
    return std::nullopt;
  }

 private:
  std::vector<Elf64_Phdr> all_;
};

Result<void> read_dynamic(const ByteReader& read, const Segments& segments,
                          const Elf64_Phdr& dynamic, ElfInfo& info) {
  std::optional<std::uint64_t> strings_address;
  std::vector<std::pair<Elf64_Sxword, std::uint64_t>> names;
  const std::uint64_t count = dynamic.p_filesz / sizeof(Elf64_Dyn);
  if (count > kMaxDynamicEntries) {
    return damaged("its dynamic section is too large");
  }
  std::vector<Elf64_Dyn> entries(count);
  if (count > 0 && !read(dynamic.p_offset, entries.data(), entries.size() * sizeof(Elf64_Dyn))) {
    return damaged("it is truncated: its dynamic section lies outside the file");
  }
  for (const Elf64_Dyn& entry : entries) {
    if (entry.d_tag == DT_NULL) {
      break;
    }
    if (entry.d_tag == DT_STRTAB) {
      strings_address = entry.d_un.d_ptr;
    } else if (entry.d_tag == DT_NEEDED || entry.d_tag == DT_RPATH || entry.d_tag == DT_RUNPATH) {
      names.emplace_back(entry.d_tag, entry.d_un.d_val);
    }
  }
  if (names.empty()) {
    return {};
  }
  if (names.size() > kMaxLibraries) {
    return damaged("it needs too many libraries");
  }
  const auto strings = strings_address ? segments.offset_of(*strings_address) : std::nullopt;
  if (!strings) {
    return damaged("its string table lies outside the file");
  }
  for (const auto& [tag, offset] : names) {
    const auto text = read_string(read, *strings + offset);
    if (!text) {
      return damaged("a library's name lies outside the file");
    }
    if (tag == DT_NEEDED) {
      info.needed.push_back(*text);
    } else {
      (tag == DT_RPATH ? info.rpath : info.runpath) = split_path(*text);
    }
  }
  return {};
}

}  // namespace

Result<ElfInfo> parse_elf(const ByteReader& read) {
  Elf64_Ehdr header;
  if (!read(0, &header, sizeof header)) {
    return damaged("it is truncated inside its ELF header");
  }
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return damaged("it is not an ELF file");
  }
  ElfInfo info;
  info.machine = header.e_machine;
  if (header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_ident[EI_CLASS] != ELFCLASS64) {
    // Another architecture's layout: its name is all that is wanted of it. Big-endian files have
    // the number's bytes the other way round.
    if (header.e_ident[EI_DATA] == ELFDATA2MSB) {
      info.machine = static_cast<std::uint16_t>((info.machine >> 8) | (info.machine << 8));
    }
    if (info.machine == host_machine()) {
      return damaged("it is not a 64-bit little-endian ELF file");
    }
    return info;
  }
  if (header.e_machine != host_machine()) {
    return info;
  }
  if (header.e_phnum != 0 && header.e_phentsize != sizeof(Elf64_Phdr)) {
    return damaged("its program headers have an unknown size");
  }
  SPORE_ASSIGN(const Segments segments, Segments::read(read, header));
  if (const Elf64_Phdr* interpreter = segments.find(PT_INTERP)) {
    auto path = read_string(read, interpreter->p_offset);
    if (!path || !path->starts_with('/')) {
      return damaged("the name of its ELF interpreter is damaged");
    }
    info.interpreter = std::move(*path);
  }
  if (const Elf64_Phdr* dynamic = segments.find(PT_DYNAMIC)) {
    SPORE_TRY(read_dynamic(read, segments, *dynamic, info));
  }
  return info;
}

ByteReader memory_reader(std::string_view bytes) {
  return [bytes](std::uint64_t offset, void* to, std::size_t size) {
    if (offset > bytes.size() || bytes.size() - offset < size) {
      return false;
    }
    std::memcpy(to, bytes.data() + offset, size);
    return true;
  };
}

ByteReader file_reader(int fd) {
  return [fd](std::uint64_t offset, void* to, std::size_t size) {
    if (offset > static_cast<std::uint64_t>(INT64_MAX) - size) {
      return false;
    }
    ssize_t count = 0;
    do {
      count = ::pread(fd, to, size, static_cast<off_t>(offset));
    } while (count < 0 && errno == EINTR);
    return count == static_cast<ssize_t>(size);
  };
}

std::string_view elf_machine_name(std::uint16_t machine) noexcept {
  switch (machine) {
    case EM_386:
      return "32-bit x86";
    case EM_X86_64:
      return "x86_64";
    case EM_ARM:
      return "32-bit Arm";
    case EM_AARCH64:
      return "aarch64";
    case EM_RISCV:
      return "RISC-V";
    case EM_PPC64:
      return "POWER";
    case EM_S390:
      return "s390x";
    default:
      return "another architecture";
  }
}

std::uint16_t host_machine() noexcept {
#if defined(__x86_64__)
  return EM_X86_64;
#elif defined(__aarch64__)
  return EM_AARCH64;
#endif
}

}  // namespace spore::image
