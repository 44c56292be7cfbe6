// Bundles for tests and fuzzers: packed and unpacked in memory, taken to pieces and put together
// differently. No GoogleTest in here.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "snapshot/bundle.h"
#include "snapshot/tar.h"
#include "spore/disk.h"
#include "unit/snapshot/disk_sample.h"

namespace spore::snapshot::test {

inline std::string pack(const std::vector<std::string>& paths, const PackOptions& options = {}) {
  std::string bytes;
  const auto bundle = pack_spores(
      paths,
      [&bytes](std::string_view more) -> Result<void> {
        bytes += more;
        return {};
      },
      options);
  SPORE_CHECK(bundle.has_value() && bundle->bytes == bytes.size());
  return bytes;
}

// Gives at most `piece` bytes at once, as a pipe does.
inline BundleSource source_of(std::string_view bytes, std::size_t piece = 100'000) {
  return [bytes, piece](std::span<char> into) mutable -> Result<std::size_t> {
    const std::size_t count = std::min({into.size(), bytes.size(), piece});
    std::copy_n(bytes.begin(), count, into.begin());
    bytes.remove_prefix(count);
    return count;
  };
}

struct Entry {
  std::string header;
  std::string content;
};

inline Entry entry(std::string_view name, std::string content) {
  return {tar_header(name, content.size()), std::move(content)};
}

inline std::string bundle_of(const std::vector<Entry>& entries) {
  std::string bytes;
  for (const Entry& entry : entries) {
    bytes += entry.header + entry.content;
    bytes.append(tar_padding(entry.content.size()), '\0');
  }
  bytes.append(kTarEndBytes, '\0');
  return bytes;
}

// Only of what pack() gives.
inline std::vector<Entry> entries_of(std::string_view bytes) {
  std::vector<Entry> entries;
  while (bytes.size() > kTarEndBytes) {
    Entry entry;
    entry.header = bytes.substr(0, kTarBlockBytes);
    const std::size_t size = std::stoul(entry.header.substr(124, 11), nullptr, 8);
    entry.content = bytes.substr(kTarBlockBytes, size);
    bytes.remove_prefix(kTarBlockBytes + size + tar_padding(size));
    entries.push_back(std::move(entry));
  }
  return entries;
}

// A header with `bytes` at `at`, and the checksum that belongs to it.
inline std::string patched_header(std::string header, std::size_t at, std::string_view bytes) {
  header.replace(at, bytes.size(), bytes);
  header.replace(148, 8, "        ");
  unsigned sum = 0;
  for (const char c : header) {
    sum += static_cast<unsigned char>(c);
  }
  std::array<char, 8> digits{};
  std::snprintf(digits.data(), digits.size(), "%06o", sum);
  header.replace(148, 7, std::string(digits.data(), 6) + '\0');
  return header;
}

inline nlohmann::json document_of(const std::vector<Entry>& entries) {
  return nlohmann::json::parse(entries.front().content);
}

inline void set_document(std::vector<Entry>& entries, const nlohmann::json& document) {
  entries.front() = entry(kBundleFile, document.dump());
}

}  // namespace spore::snapshot::test
