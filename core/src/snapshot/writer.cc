#include "snapshot/writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/check.h"
#include "base/digest.h"
#include "base/files.h"
#include "base/parallel.h"
#include "snapshot/chunk.h"
#include "snapshot/directory.h"
#include "snapshot/document.h"
#include "snapshot/proof.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPageBytes = kChunkBytes / kPagesInChunk;

bool is_zero(const std::byte* page) {
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

// The pages of `ram` by chunk: indexes of the first of each, and the end.
std::vector<std::size_t> chunk_starts(const std::vector<std::uint32_t>& pages) {
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (i == 0 || pages[i] / kPagesInChunk != pages[i - 1] / kPagesInChunk) {
      starts.push_back(i);
    }
  }
  starts.push_back(pages.size());
  return starts;
}

Result<void> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0) {
    return fail(Error::from_errno(errno, fmt::format("making the directory {}", path)));
  }
  return {};
}

// What could not be read is not written. Annotations and paths may be any bytes.
Result<std::string> readable_manifest(const Manifest& manifest, const std::string& path) {
  std::string bytes;
  try {
    bytes = to_document(manifest);
  } catch (const std::exception& error) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("writing {}: an annotation, a name or a path in it is not UTF-8: {}",
                            path, error.what()));
  }
  if (bytes.size() > kMaxManifestBytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("writing {}: it would have {} bytes, at most {} can be: annotate less",
                            path, bytes.size(), kMaxManifestBytes));
  }
  SPORE_TRY(parse_manifest(bytes, path));
  return bytes;
}

// pwrite() of all of it.
Result<void> write_at(int fd, const std::byte* bytes, std::size_t size, std::uint64_t offset,
                      const std::string& path) {
  while (size > 0) {
    const ssize_t wrote = ::pwrite(fd, bytes, size, static_cast<off_t>(offset));
    if (wrote < 0 && errno == EINTR) {
      continue;
    }
    if (wrote < 0) {
      return fail(Error::from_errno(errno, fmt::format("write {}", path)));
    }
    bytes += wrote;
    offset += static_cast<std::uint64_t>(wrote);
    size -= static_cast<std::size_t>(wrote);
  }
  return {};
}

// Pages on their way into a file; those that lie together, here and there, go in one call.
class FlatRun {
 public:
  FlatRun(int fd, const std::string& path) : fd_(fd), path_(path) {}
  Result<void> add(const std::byte* page, std::uint64_t offset) {
    if (size_ == 0 || page != bytes_ + size_ || offset != offset_ + size_) {
      SPORE_TRY(flush());
      bytes_ = page;
      offset_ = offset;
    }
    size_ += kPageBytes;
    return {};
  }
  Result<void> flush() { return write_at(fd_, bytes_, std::exchange(size_, 0), offset_, path_); }

 private:
  int fd_;
  const std::string& path_;
  const std::byte* bytes_ = nullptr;
  std::size_t size_ = 0;
  std::uint64_t offset_ = 0;
};

}  // namespace

std::string staging_path(const std::string& path) {
  std::uint64_t random = 0;
  SPORE_CHECK(::getrandom(&random, sizeof(random), 0) == sizeof(random));
  const fs::path final_path(path);
  return (final_path.parent_path() /
          fmt::format(".{}.{:016x}.tmp", final_path.filename().string(), random))
      .string();
}

Result<void> rename_new(const std::string& staging, const std::string& path) {
  // Plain rename() refuses to replace a directory that is not empty; and not every file system
  // that a spore may lie on knows RENAME_NOREPLACE.
  if (::rename(staging.c_str(), path.c_str()) != 0) {
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) {
      return fail(
          ErrorCode::kInvalidArgument,
          fmt::format("writing {}: it is there already: remove it, or choose another name", path));
    }
    return fail(Error::from_errno(errno, fmt::format("renaming {} to {}", staging, path)));
  }
  return base::sync_path(fs::path(path).parent_path().string());
}

Result<SporeWriter> SporeWriter::create(const std::string& path) {
  if (path.empty() || path.find('\0') != std::string::npos) {
    return fail(ErrorCode::kInvalidArgument, "writing a spore: its path is empty, or has a NUL");
  }
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error).lexically_normal();
  std::string final_path = (absolute.has_filename() ? absolute : absolute.parent_path()).string();
  struct stat status {};
  if (::lstat(final_path.c_str(), &status) == 0) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("writing the spore {}: it is there already: remove it (spore rm), or choose "
                    "another name",
                    path));
  }
  SporeWriter writer(final_path, staging_path(final_path));
  for (const auto& folder :
       {std::string(), std::string("/") + kSectionsFolder, std::string("/") + kChunksFolder}) {
    if (auto made = make_directory(writer.staging_ + folder); !made) {
      return fail(made.error().with_context(fmt::format("writing the spore {}", path)));
    }
  }
  return writer;
}

SporeWriter::SporeWriter(SporeWriter&& other) noexcept
    : path_(std::move(other.path_)), staging_(std::exchange(other.staging_, {})) {}

SporeWriter::~SporeWriter() {
  if (!staging_.empty()) {
    std::error_code ignored;
    fs::remove_all(staging_, ignored);
  }
}

Result<WrittenRam> SporeWriter::write_ram(const RamToWrite& ram) {
  const auto starts = chunk_starts(ram.pages);
  std::vector<ChunkRef> chunks(starts.size() - 1);
  std::atomic<std::uint64_t> file_bytes{0};
  const std::string folder = fmt::format("{}/{}", staging_, kChunksFolder);
  SPORE_TRY(base::parallel_for(chunks.size(), [&](std::size_t i) -> Result<void> {
    static thread_local std::vector<std::byte> content;
    content.clear();
    ChunkRef& chunk = chunks[i];
    chunk.chunk = static_cast<std::uint32_t>(ram.pages[starts[i]] / kPagesInChunk);
    for (std::size_t at = starts[i]; at < starts[i + 1]; ++at) {
      const std::byte* page = ram.page(ram.pages[at]);
      if (!ram.base.empty() || !is_zero(page)) {
        chunk.pages.add(ram.pages[at] % kPagesInChunk);
        content.insert(content.end(), page, page + kPageBytes);
      }
    }
    if (!content.empty()) {
      SPORE_ASSIGN(auto written, write_chunk(folder, content));
      chunk.sha256 = std::move(written.sha256);
      file_bytes += written.file_bytes;
    }
    return {};
  }));
  std::erase_if(chunks, [](const ChunkRef& chunk) { return chunk.sha256.empty(); });
  WrittenRam written{{ram.size, ram.base, std::move(chunks)}, {}, file_bytes};
  SPORE_ASSIGN(written.ref, write_section(to_document(written.section)));
  return written;
}

Result<SectionRef> SporeWriter::write_section(std::string_view bytes) {
  base::Sha256 hash;
  hash.update(bytes);
  SectionRef ref{hash.finish(), bytes.size()};
  if (bytes.size() > kMaxSectionBytes) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("writing a section of {}: it has {} bytes, at most {} can be: let the "
                            "machine's processes be read from before the capture",
                            path_, bytes.size(), kMaxSectionBytes));
  }
  SPORE_TRY(base::write_new_file(
      fmt::format("{}/{}/{}.json", staging_, kSectionsFolder, ref.sha256), bytes));
  return ref;
}

Result<void> SporeWriter::write_flat(const RamToWrite& ram, const WrittenRam& written,
                                     std::string_view key) {
  const std::string path = fmt::format("{}/{}", staging_, kFlatFile);
  const base::UniqueFd fd(::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0444));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, fmt::format("create {}", path)));
  }
  const bool whole = ram.base.empty();
  const std::uint64_t size = whole ? ram.size : written.section.stored_pages() * kPageBytes;
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
    return fail(Error::from_errno(errno, fmt::format("sizing {} to {} bytes", path, size)));
  }
  FlatRun run{fd.get(), path};
  std::uint64_t stored = 0;
  for (const ChunkRef& chunk : written.section.chunks) {
    for (std::size_t i = 0; i < kPagesInChunk; ++i) {
      if (chunk.pages.contains(i)) {
        const std::size_t page = chunk.chunk * kPagesInChunk + i;
        SPORE_TRY(run.add(ram.page(page), (whole ? page : stored) * kPageBytes));
        ++stored;
      }
    }
  }
  SPORE_TRY(run.flush());
  if (::fsync(fd.get()) != 0) {
    return fail(Error::from_errno(errno, fmt::format("write {} to disk", path)));
  }
  SPORE_ASSIGN(const std::string proof, make_proof(key, fd.get(), written.ref.sha256));
  return base::write_new_file(fmt::format("{}/{}", staging_, kFlatProofFile), proof);
}

Result<std::string> SporeWriter::publish(const Manifest& manifest, const std::string& parent) {
  const std::string what = fmt::format("{}/{}", staging_, kManifestFile);
  SPORE_ASSIGN(const std::string bytes, readable_manifest(manifest, what));
  base::Sha256 hash;
  hash.update(bytes);
  std::string id = hash.finish();
  SPORE_TRY(base::write_new_file(what, bytes));
  SPORE_TRY(base::write_new_file(fmt::format("{}/{}", staging_, kManifestDigestFile),
                                 fmt::format("{}  {}\n", id, kManifestFile)));
  if (!manifest.parent.empty()) {
    std::error_code error;
    const std::string hint = fs::relative(parent, path_, error).string();
    if (error) {
      return fail(Error::from_errno(error.value(), fmt::format("finding the way to {}", parent)));
    }
    SPORE_TRY(base::write_new_file(fmt::format("{}/{}", staging_, kParentFile), hint));
  }
  SPORE_TRY(sync_all());
  SPORE_TRY(rename_new(staging_, path_));
  staging_.clear();
  return id;
}

Result<void> SporeWriter::sync_all() const {
  std::vector<std::string> paths;
  const std::string chunks = fmt::format("{}/{}", staging_, kChunksFolder);
  std::error_code error;
  for (auto entry = fs::directory_iterator(chunks, error);
       !error && entry != fs::directory_iterator(); entry.increment(error)) {
    paths.push_back(entry->path().string());
  }
  if (error) {
    return fail(Error::from_errno(error.value(), fmt::format("write {} to disk", chunks)));
  }
  SPORE_TRY(
      base::parallel_for(paths.size(), [&](std::size_t i) { return base::sync_path(paths[i]); }));
  SPORE_TRY(base::sync_path(chunks));
  SPORE_TRY(base::sync_path(fmt::format("{}/{}", staging_, kSectionsFolder)));
  return base::sync_path(staging_);
}

}  // namespace spore::snapshot
