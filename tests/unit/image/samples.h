// Small valid files to start from, and to damage.
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace spore::image::test {

template <typename T>
void put(std::string& bytes, std::size_t offset, const T& value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

// An ELF kernel: one segment with a banner in it.
inline std::string make_elf(std::uint16_t machine = EM_X86_64) {
  std::string bytes(4096, '\0');
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_EXEC;
  header.e_machine = machine;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_LOAD;
  segment.p_offset = 512;
  segment.p_filesz = segment.p_memsz = 4096 - 512;
  put(bytes, 0, header);
  put(bytes, sizeof header, segment);
  bytes.replace(1024, 30, "Linux version 6.1.0-9-test (x)");
  return bytes;
}

// A bzImage whose payload is stored as it is, followed by its size.
inline std::string make_bzimage(std::string payload) {
  const auto size = static_cast<std::uint32_t>(payload.size());
  payload.resize(payload.size() + sizeof size);
  put(payload, size, size);
  std::string bytes(5 * 512, '\0');
  bytes[0x1f1] = 4;
  put<std::uint16_t>(bytes, 0x1fe, 0xaa55);
  bytes.replace(0x202, 4, "HdrS");
  put<std::uint16_t>(bytes, 0x206, 0x020f);
  put<std::uint16_t>(bytes, 0x20e, 0x300);
  put<std::uint16_t>(bytes, 0x236, 1);
  put<std::uint32_t>(bytes, 0x248, 0);
  put<std::uint32_t>(bytes, 0x24c, static_cast<std::uint32_t>(payload.size()));
  bytes.replace(0x500, 24, "6.1.0-7-test (you@there)");
  return bytes + payload;
}

// A program with an interpreter, two libraries and a RUNPATH.
inline std::string make_dynamic_elf() {
  std::string bytes = make_elf();
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  header.e_type = ET_DYN;
  header.e_phnum = 3;
  put(bytes, 0, header);
  constexpr std::size_t kInterpreter = 512;
  constexpr std::size_t kStrings = 640;
  constexpr std::size_t kDynamic = 768;
  const Elf64_Phdr segments[] = {
      {PT_LOAD, PF_R, 0, 0, 0, bytes.size(), bytes.size(), 4096},
      {PT_INTERP, PF_R, kInterpreter, kInterpreter, 0, 16, 16, 1},
      {PT_DYNAMIC, PF_R, kDynamic, kDynamic, 0, 6 * sizeof(Elf64_Dyn), 6 * sizeof(Elf64_Dyn), 8},
  };
  put(bytes, sizeof header, segments);
  bytes.replace(kInterpreter, 10, "/lib/ld.so");
  constexpr std::string_view kNames{"\0liba.so\0libb.so\0$ORIGIN/lib:/opt\0", 35};
  bytes.replace(kStrings, kNames.size(), kNames);
  const Elf64_Dyn dynamic[] = {{DT_NEEDED, {1}},        {DT_NEEDED, {9}}, {DT_RUNPATH, {17}},
                               {DT_STRTAB, {kStrings}}, {DT_NULL, {0}},   {DT_NULL, {0}}};
  put(bytes, kDynamic, dynamic);
  return bytes;
}

}  // namespace spore::image::test
