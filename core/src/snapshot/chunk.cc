#include "snapshot/chunk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <zstd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>

#include "base/digest.h"
#include "base/files.h"

namespace spore::snapshot {
namespace {

// The fastest that still finds what RAM is full of.
constexpr int kLevel = 1;

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
};

Result<std::string> compress(std::span<const std::byte> content) {
  static thread_local const std::unique_ptr<ZSTD_CCtx, FreeCompressor> context(ZSTD_createCCtx());
  std::string packed(ZSTD_compressBound(content.size()), '\0');
  const std::size_t size = context ? ZSTD_compressCCtx(context.get(), packed.data(), packed.size(),
                                                       content.data(), content.size(), kLevel)
                                   : 0;
  if (size == 0 || ZSTD_isError(size) != 0) {
    return fail(
        ErrorCode::kResourceExhausted,
        fmt::format("compressing a chunk: {}", size == 0 ? "no memory" : ZSTD_getErrorName(size)));
  }
  packed.resize(size);
  return packed;
}

// One frame and nothing else. The library would also take several, skippable ones, and those of its
// first versions, whose decoders nobody looks at any more.
bool is_one_frame(std::string_view packed) {
  constexpr std::string_view kMagic("\x28\xb5\x2f\xfd", 4);  // RFC 8878, 3.1.1
  return packed.starts_with(kMagic) &&
         ZSTD_findFrameCompressedSize(packed.data(), packed.size()) == packed.size();
}

tl::unexpected<Error> damaged(std::string_view what, const std::string& path,
                              std::string_view why) {
  return fail(
      ErrorCode::kCorrupt,
      fmt::format("reading {} ({}): {}: take the spore from where it came again", what, path, why));
}

}  // namespace

bool is_zero_page(const std::byte* page) noexcept {
  std::array<std::uint64_t, 8> words;
  std::uint64_t any = 0;
  for (std::size_t at = 0; at < kPageBytes && any == 0; at += sizeof(words)) {
    std::memcpy(words.data(), page + at, sizeof(words));
    for (const std::uint64_t word : words) {
      any |= word;
    }
  }
  return any == 0;
}

std::string chunk_file_name(std::string_view sha256) {
  return fmt::format("{}.zst", sha256);
}

Result<WrittenChunk> write_chunk(const std::string& directory, std::span<const std::byte> content) {
  WrittenChunk written{base::sha256_of(as_text(content)), 0};
  const std::string path = fmt::format("{}/{}", directory, chunk_file_name(written.sha256));
  const base::UniqueFd fd(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
  if (!fd.valid()) {
    if (errno == EEXIST) {
      return written;  // of this spore, in its staging directory: another thread sees to it
    }
    return fail(Error::from_errno(errno, fmt::format("create {}", path)));
  }
  SPORE_ASSIGN(const std::string packed, compress(content));
  SPORE_TRY(base::write_all(fd.get(), packed, path));
  written.file_bytes = packed.size();
  return written;
}

Result<void> read_chunk(const std::string& path, std::string_view sha256,
                        std::span<std::byte> content, std::string_view what) {
  const std::size_t limit = ZSTD_compressBound(content.size());
  auto packed = base::read_file(path, limit);
  if (!packed) {
    return packed.error().code() == ErrorCode::kInvalidArgument
               ? damaged(what, path, "it is no chunk file")
               : fail(packed.error().with_context(fmt::format("reading {}", what)));
  }
  if (!is_one_frame(*packed)) {
    return damaged(what, path, "it is no zstd frame, or not one alone");
  }
  const std::size_t size =
      ZSTD_decompress(content.data(), content.size(), packed->data(), packed->size());
  if (ZSTD_isError(size) != 0) {
    return damaged(what, path, ZSTD_getErrorName(size));
  }
  if (size != content.size()) {
    return damaged(what, path, fmt::format("it unpacks to {} bytes of {}", size, content.size()));
  }
  if (base::sha256_of(as_text(content)) != sha256) {
    return damaged(what, path, "its content is not what its name says");
  }
  return {};
}

}  // namespace spore::snapshot
