#include "image/squashfs.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "image/files.h"
#include "image/subprocess.h"

namespace spore::image {
namespace {

constexpr int kOutputDescriptor = 3;  // in sqfstar
constexpr auto kProgressInterval = std::chrono::milliseconds(200);

// The tar stream that sqfstar reads. A socket and not a pipe: if sqfstar dies, MSG_NOSIGNAL turns
// the write into an error without a word about SIGPIPE to the whole process.
la_ssize_t send_to_sqfstar(archive* writer, void* context, const void* data, std::size_t size) {
  const int fd = *static_cast<const int*>(context);
  ssize_t count = 0;
  do {
    count = ::send(fd, data, size, MSG_NOSIGNAL);
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    archive_set_error(writer, errno, "sqfstar does not read any more");
    return -1;
  }
  return count;
}

std::string with_commas(std::uint64_t number) {
  return number < 1000 ? fmt::format("{}", number)
                       : fmt::format("{},{:03}", with_commas(number / 1000), number % 1000);
}

class TarStream {
 public:
  TarStream(int fd, const std::function<void(std::string_view)>& progress)
      : fd_(fd), progress_(progress), archive_(archive_write_new(), archive_write_free) {
    // GNU tar: names of any length and any bytes.
    archive_write_set_format_gnutar(archive_.get());
    archive_write_set_bytes_per_block(archive_.get(), 1024 * 1024);
    archive_write_set_bytes_in_last_block(archive_.get(), 512);
    archive_write_open(archive_.get(), &fd_, nullptr, send_to_sqfstar, nullptr);
  }

  // nullopt: sqfstar stopped reading, and knows why.
  std::optional<Result<void>> add(const std::string& path, const TreeEntry& entry) {
    const bool file = S_ISREG(entry.status.st_mode);
    const std::unique_ptr<archive_entry, void (*)(archive_entry*)> header(archive_entry_new(),
                                                                          archive_entry_free);
    archive_entry_set_pathname(header.get(), path.c_str());
    archive_entry_set_mode(header.get(), entry.status.st_mode);
    archive_entry_set_uid(header.get(), entry.status.st_uid);
    archive_entry_set_gid(header.get(), entry.status.st_gid);
    archive_entry_set_size(header.get(), file ? entry.status.st_size : 0);
    // Python trusts a .pyc by its source's mtime. A directory's says only when somebody last wrote
    // or removed a file in it: it would make images of the same content differ.
    const bool directory = S_ISDIR(entry.status.st_mode);
    constexpr std::int64_t kLastSecond = std::numeric_limits<std::uint32_t>::max();
    const std::int64_t mtime =
        std::clamp<std::int64_t>(entry.status.st_mtim.tv_sec, 0, kLastSecond);
    archive_entry_set_mtime(header.get(), directory ? 0 : mtime, 0);
    if (S_ISLNK(entry.status.st_mode)) {
      archive_entry_set_symlink(header.get(), entry.link.c_str());
    }
    if (archive_write_header(archive_.get(), header.get()) != ARCHIVE_OK) {
      return std::nullopt;
    }
    ++files_;
    report();
    if (!file) {
      return Result<void>{};
    }
    if (entry.content) {
      return write(*entry.content) ? std::optional(Result<void>{}) : std::nullopt;
    }
    return add_content(entry);
  }

  bool finish() { return archive_write_close(archive_.get()) == ARCHIVE_OK; }

 private:
  bool write(std::string_view bytes) {
    bytes_ += bytes.size();
    return bytes.empty() || archive_write_data(archive_.get(), bytes.data(), bytes.size()) ==
                                static_cast<la_ssize_t>(bytes.size());
  }

  std::optional<Result<void>> add_content(const TreeEntry& entry) {
    const auto changed = [&] {
      return Result<void>(
          fail(ErrorCode::kInternal,
               fmt::format("pack {}: it changed while it was packed; try again", entry.source)));
    };
    auto fd = open_to_read(entry.source);
    if (!fd) {
      return Result<void>(fail(fd.error().with_context("pack a file")));
    }
    auto left = static_cast<std::uint64_t>(entry.status.st_size);
    while (left > 0) {
      const auto want = std::min<std::uint64_t>(left, block_.size());
      const ssize_t count = ::read(fd->get(), block_.data(), want);
      if (count < 0 && errno == EINTR) {
        continue;
      }
      if (count < 0) {
        return Result<void>(
            fail(Error::from_errno(errno, fmt::format("pack {}: read it", entry.source))));
      }
      if (count == 0) {
        return changed();
      }
      if (!write({block_.data(), static_cast<std::size_t>(count)})) {
        return std::nullopt;
      }
      left -= static_cast<std::uint64_t>(count);
      report();
    }
    struct stat now {};
    if (::fstat(fd->get(), &now) != 0 || now.st_size != entry.status.st_size ||
        now.st_mtim.tv_sec != entry.status.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != entry.status.st_mtim.tv_nsec) {
      return changed();
    }
    return Result<void>{};
  }

  void report() {
    const auto now = std::chrono::steady_clock::now();
    if (progress_ && now - reported_ >= kProgressInterval) {
      reported_ = now;
      progress_(fmt::format("packing {} files, {} MiB", with_commas(files_), bytes_ >> 20));
    }
  }

  int fd_;
  const std::function<void(std::string_view)>& progress_;
  std::unique_ptr<archive, int (*)(archive*)> archive_;
  std::vector<char> block_ = std::vector<char>(1024 * 1024);
  std::uint64_t files_ = 0;
  std::uint64_t bytes_ = 0;
  std::chrono::steady_clock::time_point reported_ = std::chrono::steady_clock::now();
};

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
  TarStream tar(ours.get(), progress);
  bool reading = true;
  for (const auto& [path, entry] : tree.entries()) {
    if (path.empty()) {
      continue;  // the root is described by sqfstar's options
    }
    const auto added = tar.add(path, entry);
    reading = added.has_value();
    if (!reading) {
      break;
    }
    SPORE_TRY(*added);
  }
  if (reading) {
    reading = tar.finish();
  }
  ours.reset();
  SPORE_ASSIGN(const Subprocess::End end, sqfstar->wait());
  SPORE_TRY(check_end(end, log.get()));
  if (!reading) {
    return fail(ErrorCode::kInternal,
                "build the image: sqfstar stopped before the end of its input");
  }
  return reset_root_time(output);
}

}  // namespace spore::image
