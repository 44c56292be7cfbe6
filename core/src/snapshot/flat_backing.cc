#include "snapshot/flat_backing.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/digest.h"
#include "base/files.h"
#include "snapshot/chunk.h"

namespace spore::snapshot {
namespace {

// All of RAM, with holes, or the pages that are stored one after the other.
bool is_whole(const RamSection& section) {
  return section.base.empty();
}

std::uint64_t bytes_of(const RamSection& section) {
  return is_whole(section) ? section.size : section.stored_pages() * kPageBytes;
}

// Pages on their way into a file; those that lie together, here and there, go in one call.
class PageRun {
 public:
  PageRun(int fd, const std::string& path) : fd_(fd), path_(path) {}
  Result<void> add(const std::byte* page, std::uint64_t offset) {
    if (size_ == 0 || page != bytes_ + size_ || offset != offset_ + size_) {
      SPORE_TRY(flush());
      bytes_ = page;
      offset_ = offset;
    }
    size_ += kPageBytes;
    return {};
  }
  Result<void> flush() {
    return base::write_all_at(fd_, {bytes_, std::exchange(size_, 0)}, offset_, path_);
  }

 private:
  int fd_;
  const std::string& path_;
  const std::byte* bytes_ = nullptr;
  std::size_t size_ = 0;
  std::uint64_t offset_ = 0;
};

bool is_hole(int fd, std::uint64_t offset, std::uint64_t size) {
  const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
  return data < 0 ? errno == ENXIO : static_cast<std::uint64_t>(data) >= offset + size;
}

tl::unexpected<Error> damaged(const std::string& path, std::string_view why) {
  return fail(
      ErrorCode::kCorrupt,
      fmt::format("reading {}: {}: remove it, and the spore goes on from its chunks", path, why));
}

}  // namespace

Result<void> write_flat_backing(int fd, const RamSection& section,
                                const std::function<const std::byte*(std::size_t page)>& page,
                                const std::string& path) {
  const std::uint64_t size = bytes_of(section);
  if (::ftruncate(fd, static_cast<off_t>(size)) != 0) {
    return fail(Error::from_errno(errno, fmt::format("sizing {} to {} bytes", path, size)));
  }
  PageRun run(fd, path);
  std::uint64_t stored = 0;
  for (const ChunkRef& chunk : section.chunks) {
    for (std::size_t i = 0; i < kPagesInChunk; ++i) {
      if (chunk.pages.contains(i)) {
        const std::size_t number = chunk.chunk * kPagesInChunk + i;
        SPORE_TRY(run.add(page(number), (is_whole(section) ? number : stored) * kPageBytes));
        ++stored;
      }
    }
  }
  return run.flush();
}

Result<FlatBackingCheck> FlatBackingCheck::open(const std::string& path, RamSection section) {
  SPORE_ASSIGN(base::UniqueFd fd, base::open_to_read(path));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return fail(Error::from_errno(errno, fmt::format("read {}", path)));
  }
  const std::uint64_t size = bytes_of(section);
  if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) != size) {
    return damaged(path, fmt::format("it is no file of {} bytes", size));
  }
  return FlatBackingCheck(path, std::move(fd), std::move(section));
}

FlatBackingCheck::FlatBackingCheck(std::string path, base::UniqueFd fd, RamSection section)
    : path_(std::move(path)), fd_(std::move(fd)), section_(std::move(section)) {
  if (is_whole(section_)) {
    for (std::uint64_t at = 0; at < section_.size; at += kChunkBytes) {
      offsets_.push_back(at);
    }
    return;
  }
  std::uint64_t at = 0;
  for (const ChunkRef& chunk : section_.chunks) {
    offsets_.push_back(at);
    at += chunk.pages.count() * kPageBytes;
  }
}

const ChunkRef* FlatBackingCheck::chunk_of(std::size_t part) const {
  if (!is_whole(section_)) {
    return &section_.chunks[part];
  }
  const auto found = std::ranges::lower_bound(section_.chunks, part, {}, &ChunkRef::chunk);
  return found != section_.chunks.end() && found->chunk == part ? &*found : nullptr;
}

Result<void> FlatBackingCheck::check(std::size_t part) const {
  SPORE_CHECK(part < parts());
  const std::uint64_t offset = offsets_[part];
  const std::uint64_t end = part + 1 < parts() ? offsets_[part + 1] : bytes_of(section_);
  const ChunkRef* chunk = chunk_of(part);
  if (chunk == nullptr && is_hole(fd_.get(), offset, end - offset)) {
    return {};
  }
  std::vector<std::byte> bytes(end - offset);
  SPORE_ASSIGN(const std::size_t read, base::read_at(fd_.get(), bytes, offset, path_));
  if (read != bytes.size()) {
    return damaged(path_, fmt::format("it ends at byte {}", offset + read));
  }
  base::Sha256 hash;
  bool right = true;
  for (std::size_t i = 0; i < bytes.size() / kPageBytes; ++i) {
    const std::byte* page = bytes.data() + i * kPageBytes;
    if (is_whole(section_) && (chunk == nullptr || !chunk->pages.contains(i))) {
      right = right && is_zero_page(page);
    } else {
      hash.update({reinterpret_cast<const char*>(page), kPageBytes});
    }
  }
  if (!right || (chunk != nullptr && hash.finish() != chunk->sha256)) {
    return damaged(
        path_, fmt::format("its bytes {} to {} are not those that were captured", offset, end - 1));
  }
  return {};
}

}  // namespace spore::snapshot
