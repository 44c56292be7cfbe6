#include "snapshot/known_digests.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <string_view>

#include "base/digest.h"
#include "base/files.h"
#include "snapshot/document.h"
#include "snapshot/proof.h"
#include "snapshot/staging.h"

namespace spore::snapshot {
namespace {

constexpr std::size_t kMaxNoteBytes = 65 + kMaxProofBytes;

// The note is "<digest>\n<proof>".
std::string digest_in(std::string_view note) {
  const std::size_t end = note.find('\n');
  const std::string digest(note.substr(0, end));
  return end != std::string_view::npos && is_digest(digest) ? digest : std::string();
}

// What is not a file may have no end, or change with no trace.
Result<struct stat> stat_file(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    return fail(Error::from_errno(errno, fmt::format("read {}", path)));
  }
  if (!S_ISREG(status.st_mode)) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("read {}: it is not a file", path));
  }
  return status;
}

}  // namespace

Result<std::string> KnownDigests::of_file(const std::string& path) const {
  SPORE_ASSIGN(const base::UniqueFd fd, base::open_to_read(path));
  SPORE_ASSIGN(const struct stat status, stat_file(fd.get(), path));
  // The folder may be that of several hosts, which see one file as several: each has its note.
  const std::string name =
      base::sha256_of(fmt::format("{}:{}:{}", status.st_dev, status.st_ino, path));
  const std::string note_path = fmt::format("{}/{}", folder_, name);
  if (const auto note = base::read_file(note_path, kMaxNoteBytes)) {
    const std::string digest = digest_in(*note);
    if (!digest.empty() &&
        is_proof(std::string_view(*note).substr(digest.size() + 1), key_, fd.get(), digest)) {
      return digest;
    }
  }
  SPORE_ASSIGN(std::string digest, base::sha256_of_file(fd.get(), path));
  SPORE_ASSIGN(const std::string proof, make_proof(key_, fd.get(), digest));
  // Without the note the file is read again the next time, no more.
  ::mkdir(folder_.c_str(), 0700);
  const std::string staging = staging_path(note_path);
  if (base::write_new_file(staging, fmt::format("{}\n{}", digest, proof))) {
    if (std::rename(staging.c_str(), note_path.c_str()) != 0) {
      std::remove(staging.c_str());
    }
  }
  return digest;
}

}  // namespace spore::snapshot
