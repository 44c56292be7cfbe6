#include "snapshot/writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/digest.h"
#include "base/files.h"
#include "base/parallel.h"
#include "snapshot/chunk.h"
#include "snapshot/directory.h"
#include "snapshot/document.h"
#include "snapshot/flat_backing.h"
#include "snapshot/proof.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;

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

}  // namespace

Result<SporeWriter> SporeWriter::create(const std::string& path) {
  if (path.empty() || path.find('\0') != std::string::npos) {
    return fail(ErrorCode::kInvalidArgument, "writing a spore: its path is empty, or has a NUL");
  }
  SPORE_ASSIGN(Staging staging, Staging::create(path, "writing a spore"));
  for (const char* folder : {kSectionsFolder, kChunksFolder}) {
    if (auto made = make_directory(fmt::format("{}/{}", staging.path(), folder)); !made) {
      return fail(made.error().with_context(fmt::format("writing the spore {}", path)));
    }
  }
  return SporeWriter(std::move(staging));
}

Result<WrittenRam> SporeWriter::write_ram(const RamToWrite& ram) {
  const auto starts = chunk_starts(ram.pages);
  std::vector<ChunkRef> chunks(starts.size() - 1);
  std::atomic<std::uint64_t> file_bytes{0};
  const std::string folder = fmt::format("{}/{}", staging(), kChunksFolder);
  SPORE_TRY(base::parallel_for(chunks.size(), [&](std::size_t i) -> Result<void> {
    static thread_local std::vector<std::byte> content;
    content.clear();
    ChunkRef& chunk = chunks[i];
    chunk.chunk = static_cast<std::uint32_t>(ram.pages[starts[i]] / kPagesInChunk);
    for (std::size_t at = starts[i]; at < starts[i + 1]; ++at) {
      const std::byte* page = ram.page(ram.pages[at]);
      if (!ram.base.empty() || !is_zero_page(page)) {
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
  SectionRef ref{base::sha256_of(bytes), bytes.size()};
  if (bytes.size() > kMaxSectionBytes) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("writing a section of {}: it has {} bytes, at most {} can be: let the "
                            "machine's processes be read from before the capture",
                            final_path(), bytes.size(), kMaxSectionBytes));
  }
  SPORE_TRY(base::write_new_file(
      fmt::format("{}/{}/{}.json", staging(), kSectionsFolder, ref.sha256), bytes));
  return ref;
}

Result<void> SporeWriter::write_flat(const RamToWrite& ram, const WrittenRam& written,
                                     std::string_view key) {
  const std::string path = fmt::format("{}/{}", staging(), kFlatFile);
  const base::UniqueFd fd(::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0444));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, fmt::format("create {}", path)));
  }
  SPORE_TRY(write_flat_backing(fd.get(), written.section, ram.page, path));
  if (::fsync(fd.get()) != 0) {
    return fail(Error::from_errno(errno, fmt::format("write {} to disk", path)));
  }
  SPORE_ASSIGN(const std::string proof, make_proof(key, fd.get(), written.ref.sha256));
  return base::write_new_file(fmt::format("{}/{}", staging(), kFlatProofFile), proof);
}

Result<std::string> SporeWriter::publish(const Manifest& manifest, const std::string& parent) {
  const std::string what = fmt::format("{}/{}", staging(), kManifestFile);
  SPORE_ASSIGN(const std::string bytes, readable_manifest(manifest, what));
  std::string id = base::sha256_of(bytes);
  SPORE_TRY(base::write_new_file(what, bytes));
  SPORE_TRY(base::write_new_file(fmt::format("{}/{}", staging(), kManifestDigestFile),
                                 manifest_digest_text(id)));
  if (!manifest.parent.empty()) {
    std::error_code error;
    const std::string hint = fs::relative(parent, final_path(), error).string();
    if (error) {
      return fail(Error::from_errno(error.value(), fmt::format("finding the way to {}", parent)));
    }
    SPORE_TRY(base::write_new_file(fmt::format("{}/{}", staging(), kParentFile), hint));
  }
  SPORE_TRY(sync_all());
  SPORE_TRY(staging_.publish());
  return id;
}

Result<void> SporeWriter::sync_all() const {
  std::vector<std::string> paths;
  const std::string chunks = fmt::format("{}/{}", staging(), kChunksFolder);
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
  SPORE_TRY(base::sync_path(fmt::format("{}/{}", staging(), kSectionsFolder)));
  return base::sync_path(staging());
}

}  // namespace spore::snapshot
