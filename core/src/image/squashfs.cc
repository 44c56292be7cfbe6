#include "image/squashfs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "image/files.h"
#include "image/subprocess.h"
#include "image/tree_archive.h"

namespace spore::image {
namespace {

constexpr int kOutputDescriptor = 3;  // in sqfstar

std::vector<std::string> sqfstar_command(const TreeEntry& root) {
  // Nothing is compressed: a guest may be a slow interpreter, for which decompression is the cost
  // that matters, while the host's page cache makes reading cheap.
  return {"sqfstar",
          "-force",
          "-no-progress",
          "-quiet",
          "-exit-on-error",
          "-noI",
          "-noD",
          "-noF",
          "-noX",
          "-no-xattrs",
          "-mkfs-time",
          "0",
          "-root-time",
          "0",
          "-root-mode",
          fmt::format("{:o}", root.status.st_mode & 07777),
          "-root-uid",
          std::to_string(root.status.st_uid),
          "-root-gid",
          std::to_string(root.status.st_gid),
          fmt::format("/proc/self/fd/{}", kOutputDescriptor)};
}

// sqfstar 4.5 gives the root directory the current time, whatever -root-time says: it is set to 0
// here, or no two images would be the same. The inode table is not compressed (-noI). Layout:
// Linux, fs/squashfs/squashfs_fs.h; directory inodes of both kinds have their mtime at byte 8.
Result<void> reset_root_time(int fd) {
  constexpr off_t kRootInodeField = 32;
  constexpr off_t kInodeTableField = 64;
  constexpr std::uint64_t kMetadataBytes = 8192;
  constexpr std::uint64_t kBlockHeader = 2;
  constexpr std::uint64_t kMtimeOffset = 8;
  std::uint64_t root = 0;
  std::uint64_t table = 0;
  std::uint16_t header = 0;
  const auto read = [fd](auto& value, off_t offset) {
    return ::pread(fd, &value, sizeof value, offset) == static_cast<ssize_t>(sizeof value);
  };
  bool done = read(root, kRootInodeField) && read(table, kInodeTableField);
  const std::uint64_t block = table + (root >> 16);
  done = done && read(header, static_cast<off_t>(block)) && (header & 0x8000) != 0;
  for (std::uint64_t i = 0; done && i < sizeof(std::uint32_t); ++i) {
    // The inode may reach into the next block, which has a header of its own.
    const std::uint64_t at = (root & 0xffff) + kMtimeOffset + i;
    const std::uint64_t headers = kBlockHeader * (at / kMetadataBytes + 1);
    done = ::pwrite(fd, "", 1, static_cast<off_t>(block + at + headers)) == 1;
  }
  if (!done) {
    return fail(ErrorCode::kInternal,
                "build the image: sqfstar wrote a layout that is not expected; install "
                "squashfs-tools 4.5 or newer");
  }
  return {};
}

Result<void> check_end(const Subprocess::End& end, int log) {
  if (end.code == 0 && end.signal == 0) {
    return {};
  }
  if (end.signal == SIGINT || end.signal == SIGTERM) {
    return fail(ErrorCode::kInterrupted, "build the image: interrupted");
  }
  std::string said = read_start(log, 4096).value_or("");
  if (said.find("No space left on device") != std::string::npos ||
      said.find("Disk quota exceeded") != std::string::npos) {
    return fail(ErrorCode::kResourceExhausted,
                "build the image: the disk of the cache directory is full; free some space, or "
                "choose another directory with SPORE_CACHE_DIR");
  }
  std::replace(said.begin(), said.end(), '\n', ' ');
  return fail(ErrorCode::kInternal,
              end.signal != 0
                  ? fmt::format("build the image: sqfstar was killed by signal {}", end.signal)
                  : fmt::format("build the image: sqfstar failed: {}", said));
}

}  // namespace

Result<void> write_squashfs(const Tree& tree, int output,
                            const std::function<void(std::string_view)>& progress) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(Error::from_errno(errno, "make a socket for sqfstar"));
  }
  base::UniqueFd ours(ends[0]);
  base::UniqueFd theirs(ends[1]);
  const base::UniqueFd log(::memfd_create("sqfstar-output", MFD_CLOEXEC));
  if (!log.valid()) {
    return fail(Error::from_errno(errno, "make a file for sqfstar's messages"));
  }
  auto sqfstar = Subprocess::start(
      sqfstar_command(tree.entries().at("")),
      {{theirs.get(), 0}, {log.get(), 1}, {log.get(), 2}, {output, kOutputDescriptor}});
  if (!sqfstar) {
    if (sqfstar.error().code() == ErrorCode::kNotFound) {
      return fail(
          ErrorCode::kUnavailable,
          "build the image: there is no sqfstar in PATH; install squashfs-tools 4.5 or newer "
          "(Debian and Ubuntu: apt-get install squashfs-tools)");
    }
    return fail(sqfstar.error());
  }
  theirs.reset();
  // The root is described by sqfstar's options.
  SPORE_ASSIGN(const int error, stream_archive(tree, ours.get(), progress));
  ours.reset();
  SPORE_ASSIGN(const Subprocess::End end, sqfstar->wait());
  SPORE_TRY(check_end(end, log.get()));
  if (error != 0) {
    return fail(ErrorCode::kInternal,
                "build the image: sqfstar stopped before the end of its input");
  }
  return reset_root_time(output);
}

}  // namespace spore::image
