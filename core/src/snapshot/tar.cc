#include "snapshot/tar.h"

#include <fmt/format.h>

#include <charconv>
#include <numeric>

#include "base/check.h"

namespace spore::snapshot {
namespace {

// Offsets and lengths of fields: POSIX.1-2017, pax, "ustar Interchange Format".
constexpr std::size_t kNameBytes = 100;
constexpr std::size_t kSizeAt = 124;
constexpr std::size_t kSizeBytes = 12;
constexpr std::size_t kChecksumAt = 148;
constexpr std::size_t kChecksumBytes = 8;
constexpr std::size_t kPrefixAt = 345;
constexpr std::size_t kPrefixBytes = 155;
// A size with more octal digits is binary, with the field's first bit set, as GNU tar does it.
constexpr std::uint64_t kMaxOctalSize = 077777777777;

// Where a long name is divided; npos: it fits as it is, or not at all.
std::size_t split_of(std::string_view name) {
  return name.size() <= kNameBytes ? std::string_view::npos : name.rfind('/', kPrefixBytes);
}

std::string size_field(std::uint64_t bytes) {
  if (bytes <= kMaxOctalSize) {
    return fmt::format("{:011o}", bytes);
  }
  std::string field(kSizeBytes, '\0');
  for (std::size_t i = kSizeBytes; bytes != 0; bytes >>= 8) {
    field[--i] = static_cast<char>(bytes & 0xff);
  }
  field[0] = static_cast<char>(0x80);
  return field;
}

std::uint64_t size_in(std::string_view field) {
  std::uint64_t bytes = 0;
  if (static_cast<unsigned char>(field.front()) == 0x80) {
    for (const char c : field.substr(kSizeBytes - sizeof(bytes))) {
      bytes = bytes << 8 | static_cast<unsigned char>(c);
    }
    return bytes;
  }
  std::from_chars(field.data(), field.data() + field.size(), bytes, 8);
  return bytes;
}

}  // namespace

bool fits_tar(std::string_view name) {
  if (name.empty() || name.size() <= kNameBytes) {
    return !name.empty();
  }
  const std::size_t split = split_of(name);
  return split != std::string_view::npos && split > 0 && name.size() - split - 1 <= kNameBytes &&
         split + 1 < name.size();
}

std::string tar_header(std::string_view name, std::uint64_t bytes) {
  SPORE_CHECK(fits_tar(name));
  std::string header(kTarBlockBytes, '\0');
  const auto put = [&header](std::size_t at, std::string_view text) {
    header.replace(at, text.size(), text);
  };
  const std::size_t split = split_of(name);
  if (split != std::string_view::npos) {
    put(kPrefixAt, name.substr(0, split));
    name.remove_prefix(split + 1);
  }
  put(0, name);
  put(100, "0000644");  // mode
  put(108, "0000000");  // uid
  put(116, "0000000");  // gid
  put(kSizeAt, size_field(bytes));
  put(136, "00000000000");                             // mtime
  put(kChecksumAt, std::string(kChecksumBytes, ' '));  // while it is computed
  put(156, "0");                                       // a regular file
  put(257, "ustar");
  put(263, "00");       // version
  put(329, "0000000");  // device
  put(337, "0000000");
  const unsigned sum =
      std::accumulate(header.begin(), header.end(), 0U,
                      [](unsigned total, char c) { return total + static_cast<unsigned char>(c); });
  put(kChecksumAt, fmt::format("{:06o}", sum));
  header[kChecksumAt + 6] = '\0';
  return header;
}

std::optional<std::uint64_t> tar_size(std::string_view block, std::string_view name) {
  if (block.size() != kTarBlockBytes) {
    return std::nullopt;
  }
  const std::uint64_t bytes = size_in(block.substr(kSizeAt, kSizeBytes));
  return tar_header(name, bytes) == block ? std::optional(bytes) : std::nullopt;
}

}  // namespace spore::snapshot
