// Spores that tests write and read: RAM of a few pages, a manifest with everything in it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "snapshot/chunk.h"
#include "snapshot/directory.h"
#include "snapshot/document.h"
#include "snapshot/writer.h"
#include "unit/image/temporary.h"

namespace spore::snapshot::test {

using image::test::count_entries;
using image::test::read_all;

// In memory where there is such a place: what is tested here does not depend on the disk, and
// waiting for one would take most of the time.
class TemporaryDirectory : public image::test::TemporaryDirectory {
 public:
  TemporaryDirectory()
      : image::test::TemporaryDirectory(::access("/dev/shm", W_OK) == 0
                                            ? std::filesystem::path("/dev/shm")
                                            : std::filesystem::temp_directory_path()) {}
};

using Page = std::vector<std::byte>;

// A page that is not like another one, and compresses as badly as code does.
inline Page page_of(std::uint32_t seed) {
  Page page(kPageBytes);
  std::uint32_t state = seed * 2654435761U + 1;
  for (std::byte& byte : page) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<std::byte>(state >> 28);
  }
  return page;
}

// RAM of which only some pages are not zero.
struct SampleRam {
  std::uint64_t size = 64 * kMiB;
  std::map<std::uint32_t, Page> pages;

  [[nodiscard]] const std::byte* page(std::size_t number) const {
    static const Page zero(kPageBytes);
    const auto found = pages.find(static_cast<std::uint32_t>(number));
    return found == pages.end() ? zero.data() : found->second.data();
  }
  // To be written as a layer on `base`, or whole.
  [[nodiscard]] RamToWrite to_write(std::string base = {}) const {
    RamToWrite ram;
    ram.size = size;
    ram.base = std::move(base);
    for (const auto& [number, bytes] : pages) {
      ram.pages.push_back(number);
    }
    ram.page = [this](std::size_t number) { return page(number); };
    return ram;
  }
};

inline SampleRam sample_ram() {
  SampleRam ram;
  for (const std::uint32_t page : {0U, 1U, 7U, 511U, 512U, 1024U, 5000U, 5001U, 16383U}) {
    ram.pages[page] = page_of(page);
  }
  return ram;
}

inline Manifest sample_manifest() {
  Manifest manifest;
  manifest.created = 1'800'000'000;
  manifest.created_by = "spore 0.1.0";
  manifest.generation.number = 3;
  manifest.generation.id = std::string(32, 'a');
  manifest.generation.parent_id = std::string(32, 'b');
  manifest.generation.parameters.name = "3";
  manifest.generation.parameters.user = {{"key", "value"}};
  Platform& platform = manifest.platform;
  platform.architecture = "x86_64";
  platform.board = 1;
  platform.backend = "kvm";
  platform.cpu_vendor = "FakeVendor";
  platform.cpu_features = {"avx", "sse3"};
  platform.clock = "kvm-clock";
  platform.tsc_khz = 2'000'000;
  platform.memory_bytes = 64 * kMiB;
  platform.cpus = 2;
  platform.kernel_sha256 = std::string(64, 'c');
  manifest.annotations = {{"why", "a test"}};
  for (const auto name : {kVmSection, kAgentSection, kRamSection}) {
    manifest.sections[std::string(name)] = {std::string(64, 'd'), 2};
  }
  return manifest;
}

// Where a spore that is written goes: its manifest is `manifest` but for the sections.
struct SporeToWrite {
  SampleRam ram = sample_ram();
  Manifest manifest = sample_manifest();
  std::string parent_path;  // for manifest.parent
  std::string base;         // for the ram section
};

inline Result<std::string> write_spore(const std::string& path, SporeToWrite what) {
  SPORE_ASSIGN(auto writer, SporeWriter::create(path));
  SPORE_ASSIGN(const auto ram, writer.write_ram(what.ram.to_write(what.base)));
  what.manifest.sections[std::string(kRamSection)] = ram.ref;
  SPORE_ASSIGN(what.manifest.sections[std::string(kVmSection)],
               writer.write_section("{\"vm\":true}"));
  SPORE_ASSIGN(what.manifest.sections[std::string(kAgentSection)],
               writer.write_section("{\"agent\":true}"));
  return writer.publish(what.manifest, what.parent_path);
}

// Adds the pages that the spore itself stores to `pages`.
inline Result<void> read_own_pages(const SporeDirectory& spore,
                                   std::map<std::uint32_t, Page>& pages) {
  SPORE_ASSIGN(const RamSection section, spore.ram_section());
  for (const ChunkRef& chunk : section.chunks) {
    Page content(chunk.pages.count() * kPageBytes);
    const std::string what = spore.describe(chunk);
    SPORE_ASSIGN(const std::string path,
                 spore.find(kChunksFolder, chunk_file_name(chunk.sha256), what));
    SPORE_TRY(read_chunk(path, chunk.sha256, content, what));
    const std::byte* from = content.data();
    for (std::uint32_t page = 0; page < kPagesInChunk; ++page) {
      if (chunk.pages.contains(page)) {
        pages[chunk.chunk * std::uint32_t{kPagesInChunk} + page] = Page(from, from + kPageBytes);
        from += kPageBytes;
      }
    }
  }
  return {};
}

// Opens and reads all of it: manifest, sections, every chunk.
inline Result<void> verify(const std::string& path) {
  SPORE_ASSIGN(const auto spore, SporeDirectory::open(path));
  for (const auto& [name, section] : spore->manifest().sections) {
    SPORE_TRY(spore->section(name));
  }
  std::map<std::uint32_t, Page> pages;
  return read_own_pages(*spore, pages);
}

// Replaces a file's content; the file may be one that is not to be written to.
inline void overwrite(const std::string& path, std::string_view bytes) {
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

// A manifest with the digest file that belongs to it: what whoever can change one can change too.
inline void overwrite_manifest(const std::string& spore, std::string_view bytes) {
  overwrite(spore + "/manifest.json", bytes);
  overwrite(spore + "/manifest.sha256", base::sha256_of(bytes) + "  manifest.json\n");
}

inline std::string the_only_file_in(const std::string& folder) {
  EXPECT_EQ(count_entries(folder), 1U);
  return std::filesystem::directory_iterator(folder)->path().string();
}

}  // namespace spore::snapshot::test
