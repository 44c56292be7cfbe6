#include "image/tree_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "image/files.h"

namespace spore::image {
namespace {

constexpr auto kProgressInterval = std::chrono::milliseconds(200);

// With MSG_NOSIGNAL a reader that dies is an error, without a word about SIGPIPE to the whole
// process; files know no flags.
la_ssize_t write_out(archive* writer, void* context, const void* data, std::size_t size) {
  const int fd = *static_cast<const int*>(context);
  ssize_t count = 0;
  do {
    count = ::send(fd, data, size, MSG_NOSIGNAL);
    if (count < 0 && errno == ENOTSOCK) {
      count = ::write(fd, data, size);
    }
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    archive_set_error(writer, errno, "the archive cannot be written");
  }
  return count;
}

std::string with_commas(std::uint64_t number) {
  return number < 1000 ? fmt::format("{}", number)
                       : fmt::format("{},{:03}", with_commas(number / 1000), number % 1000);
}

class Stream {
 public:
  Stream(int fd, const std::function<void(std::string_view)>& progress)
      : fd_(fd), progress_(progress), archive_(archive_write_new(), archive_write_free) {
    // GNU tar: names of any length and any bytes.
    archive_write_set_format_gnutar(archive_.get());
    archive_write_set_bytes_per_block(archive_.get(), 1024 * 1024);
    archive_write_set_bytes_in_last_block(archive_.get(), 512);
    archive_write_open(archive_.get(), &fd_, nullptr, write_out, nullptr);
  }

  // False: nothing more can be written.
  Result<bool> add(const std::string& path, const TreeEntry& entry) {
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
      return false;
    }
    ++files_;
    report();
    if (!file) {
      return true;
    }
    if (entry.content) {
      return write(*entry.content);
    }
    return add_content(entry);
  }

  // Of the write that failed.
  [[nodiscard]] int error_number() const {
    const int number = archive_errno(archive_.get());
    return number != 0 ? number : EIO;
  }
  bool finish() { return archive_write_close(archive_.get()) == ARCHIVE_OK; }

 private:
  bool write(std::string_view bytes) {
    bytes_ += bytes.size();
    return bytes.empty() || archive_write_data(archive_.get(), bytes.data(), bytes.size()) ==
                                static_cast<la_ssize_t>(bytes.size());
  }

  Result<bool> add_content(const TreeEntry& entry) {
    const auto changed = [&] {
      return fail(ErrorCode::kInternal,
                  fmt::format("pack {}: it changed while it was packed; try again", entry.source));
    };
    auto fd = open_to_read(entry.source);
    if (!fd) {
      return fail(fd.error().with_context("pack a file"));
    }
    auto left = static_cast<std::uint64_t>(entry.status.st_size);
    while (left > 0) {
      const auto want = std::min<std::uint64_t>(left, block_.size());
      const ssize_t count = ::read(fd->get(), block_.data(), want);
      if (count < 0 && errno == EINTR) {
        continue;
      }
      if (count < 0) {
        return fail(Error::from_errno(errno, fmt::format("pack {}: read it", entry.source)));
      }
      if (count == 0) {
        return changed();
      }
      if (!write({block_.data(), static_cast<std::size_t>(count)})) {
        return false;
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
    return true;
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

}  // namespace

Result<int> stream_archive(const Tree& tree, int output,
                           const std::function<void(std::string_view)>& progress) {
  Stream stream(output, progress);
  for (const auto& [path, entry] : tree.entries()) {
    if (path.empty()) {
      continue;
    }
    SPORE_ASSIGN(const bool added, stream.add(path, entry));
    if (!added) {
      return stream.error_number();
    }
  }
  return stream.finish() ? 0 : stream.error_number();
}

Result<void> write_archive(const Tree& tree, int output,
                           const std::function<void(std::string_view)>& progress) {
  SPORE_ASSIGN(const int error, stream_archive(tree, output, progress));
  if (error != 0) {
    return fail(Error::from_errno(error, "write the archive"));
  }
  return {};
}

}  // namespace spore::image
