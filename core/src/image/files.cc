#include "image/files.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace spore::image {

Result<std::string> unpack(std::string_view packed, std::uint64_t expected_size,
                           std::uint64_t limit, std::string_view what) {
  const std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
  const auto damaged = [&](std::string_view why) {
    return fail(ErrorCode::kCorrupt, fmt::format("unpack {}: {}", what, why));
  };
  const auto text = [&]() -> std::string {
    const char* message = archive_error_string(reader.get());
    return message == nullptr ? "the data is damaged" : message;
  };
  // Not filter_all(): that one also knows formats for which it starts a program.
  for (const auto support : {archive_read_support_filter_xz, archive_read_support_filter_zstd,
                             archive_read_support_filter_gzip, archive_read_support_filter_lz4,
                             archive_read_support_filter_bzip2, archive_read_support_filter_lzma}) {
    support(reader.get());
  }
  archive_read_support_format_raw(reader.get());
  archive_entry* entry = nullptr;
  if (archive_read_open_memory(reader.get(), packed.data(), packed.size()) != ARCHIVE_OK ||
      archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK) {
    return damaged(text());
  }
  const std::uint64_t end = expected_size != 0 ? std::min(expected_size, limit) : limit + 1;
  std::string bytes;
  std::vector<char> block(1024 * 1024);
  while (bytes.size() < end) {
    const auto want = std::min<std::uint64_t>(block.size(), end - bytes.size());
    const la_ssize_t count = archive_read_data(reader.get(), block.data(), want);
    if (count < 0) {
      return damaged(text());
    }
    if (count == 0) {
      break;
    }
    bytes.append(block.data(), static_cast<std::size_t>(count));
  }
  if (bytes.size() > limit) {
    return damaged(fmt::format("more than {} bytes come out of it", limit));
  }
  if (expected_size != 0 && bytes.size() != expected_size) {
    return damaged(
        fmt::format("{} bytes come out of it instead of {}", bytes.size(), expected_size));
  }
  return bytes;
}

}  // namespace spore::image
