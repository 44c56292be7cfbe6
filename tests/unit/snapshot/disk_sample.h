// Small spores on disk for tests and fuzzers, written as real ones are. No GoogleTest in here.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/check.h"
#include "base/digest.h"
#include "snapshot/directory.h"
#include "snapshot/document.h"
#include "snapshot/writer.h"

namespace spore::snapshot::test {

// A directory of a test's own, removed with all that is in it. In memory where that can be: tests
// make many small files, and wait for the disk.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const std::filesystem::path memory = "/dev/shm";
    const std::filesystem::path where =
        ::access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path();
    std::string pattern = (where / "spores-XXXXXX").string();
    SPORE_CHECK(::mkdtemp(pattern.data()) != nullptr);
    // Not this one itself: who collects garbage looks at what lies beside its folder too, and there
    // tests that run at the same time have theirs.
    path_ = pattern + "/alone";
    std::filesystem::create_directory(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(std::filesystem::path(path_).parent_path(), ignored);
  }
  [[nodiscard]] std::string path(std::string_view name = {}) const {
    return name.empty() ? path_ : path_ + "/" + std::string(name);
  }

 private:
  std::string path_;
};

inline std::string read_all(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

inline void write_all(const std::string& path, std::string_view bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// In place: what has holes keeps them.
inline void flip_byte(const std::string& path, std::size_t at) {
  std::filesystem::permissions(path, std::filesystem::perms::owner_write,
                               std::filesystem::perm_options::add);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(at));
  const int byte = file.get();
  SPORE_CHECK(byte != EOF);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(byte ^ 1));
  SPORE_CHECK(file.flush().good());
}

// Names of what is directly in a folder, ascending.
inline std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

inline std::vector<std::byte> page_of(std::uint8_t seed) {
  std::vector<std::byte> page(kPageBytes);
  for (std::size_t i = 0; seed != 0 && i < page.size(); ++i) {
    page[i] = static_cast<std::byte>(seed + i / 64);
  }
  return page;
}

// What is in a spore that a test writes.
struct Sample {
  std::uint64_t memory_bytes = 8 * kMiB;                                        // four chunks
  std::map<std::uint32_t, std::uint8_t> pages = {{1, 11}, {2, 12}, {600, 13}};  // to page_of()
  std::string parent{};  // a spore's directory: this one is a layer on it
  std::string vm = R"({"cpus":[{"rip":4096}],"clock":7})";  // JSON
  std::string agent = R"({"processes":[{"id":1}]})";
  std::vector<std::string> images{};  // files
  std::map<std::string, std::string> annotations{};
  std::vector<std::string> cpu_features = {"avx", "sse3"};
  bool flat = false;
};

inline std::string write_sample(const std::string& path, const Sample& sample = {}) {
  Manifest manifest;
  manifest.created = 1'700'000'000;
  manifest.created_by = "spore test";
  manifest.generation.id = std::string(32, 'a');
  manifest.platform = {.architecture = "x86_64",
                       .board = 1,
                       .backend = "kvm",
                       .cpu_vendor = "Vendor",
                       .cpu_features = sample.cpu_features,
                       .clock = "kvm-clock",
                       .tsc_khz = 2'000'000,
                       .memory_bytes = sample.memory_bytes,
                       .cpus = 1,
                       .kernel_sha256 = std::string(64, 'b')};
  manifest.annotations = sample.annotations;
  for (const std::string& image : sample.images) {
    const std::string bytes = read_all(image);
    manifest.images.push_back({base::sha256_of(bytes), bytes.size(), image});
  }
  RamToWrite ram;
  ram.size = sample.memory_bytes;
  std::map<std::size_t, std::vector<std::byte>> contents;
  for (const auto& [page, seed] : sample.pages) {
    ram.pages.push_back(page);
    contents[page] = page_of(seed);
  }
  ram.page = [&contents](std::size_t page) { return contents.at(page).data(); };
  if (!sample.parent.empty()) {
    const auto parent = SporeDirectory::open(sample.parent);
    SPORE_CHECK(parent.has_value());
    manifest.parent = (*parent)->id();
    ram.base = (*parent)->section_ref(kRamSection).sha256;
  }
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  auto writer = SporeWriter::create(path);
  SPORE_CHECK(writer.has_value());
  const auto written = writer->write_ram(ram);
  SPORE_CHECK(written.has_value());
  manifest.sections[std::string(kRamSection)] = written->ref;
  manifest.sections[std::string(kVmSection)] =
      *writer->write_section(nlohmann::json::parse(sample.vm).dump());
  manifest.sections[std::string(kAgentSection)] =
      *writer->write_section(nlohmann::json::parse(sample.agent).dump());
  if (sample.flat) {
    SPORE_CHECK(writer->write_flat(ram, *written, std::string(32, 'k')).has_value());
  }
  SPORE_CHECK(writer->publish(manifest, sample.parent).has_value());
  return path;
}

// The only chunk file of a sample, or the first by name.
inline std::string a_chunk_of(const std::string& spore) {
  return spore + "/chunks/" + names_in(spore + "/chunks").front();
}

inline std::string section_of(const std::string& spore, std::string_view name) {
  const auto directory = SporeDirectory::open(spore);
  SPORE_CHECK(directory.has_value());
  return spore + "/sections/" + (*directory)->section_ref(name).sha256 + ".json";
}

}  // namespace spore::snapshot::test
