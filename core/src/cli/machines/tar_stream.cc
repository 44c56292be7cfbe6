#include "cli/machines/tar_stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/unique_fd.h"

namespace spore::cli::machines {
namespace {

constexpr std::size_t kBlock = 64 * 1024;
constexpr mode_t kKeptModes = 01777;  // not set-user-id, not set-group-id
constexpr int kUnpackFlags = ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME |
                             ARCHIVE_EXTRACT_SECURE_SYMLINKS | ARCHIVE_EXTRACT_SECURE_NODOTDOT |
                             ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS;

using Reader = std::unique_ptr<archive, decltype(&archive_read_free)>;
using Writer = std::unique_ptr<archive, decltype(&archive_write_free)>;
using EntryPtr = std::unique_ptr<archive_entry, decltype(&archive_entry_free)>;

// What the callbacks of one archive need, and what went wrong in them.
struct Packing {
  const TakeBytes* take;
  std::optional<Error> error;
};
struct Unpacking {
  const GiveBytes* give;
  std::optional<Error> error;
};

la_ssize_t write_block(archive* /*tar*/, void* data, const void* buffer, std::size_t size) {
  auto& packing = *static_cast<Packing*>(data);
  if (packing.error) {
    return -1;  // nothing follows what was lost
  }
  const auto taken = (*packing.take)({static_cast<const char*>(buffer), size});
  if (!taken) {
    packing.error = taken.error();
    return -1;
  }
  return static_cast<la_ssize_t>(size);
}

la_ssize_t read_block(archive* /*tar*/, void* data, const void** buffer) {
  auto& unpacking = *static_cast<Unpacking*>(data);
  const auto bytes = (*unpacking.give)();
  if (!bytes) {
    unpacking.error = bytes.error();
    return -1;
  }
  *buffer = bytes->data();
  return static_cast<la_ssize_t>(bytes->size());
}

Error archive_error(archive* handle, std::string_view attempted,
                    const std::optional<Error>& callback) {
  if (callback) {
    return *callback;
  }
  const int number = archive_errno(handle);
  const char* text = archive_error_string(handle);
  const ErrorCode code = number > 0 ? Error::from_errno(number, "").code() : ErrorCode::kCorrupt;
  return Error(code, fmt::format("{}: {}", attempted, text != nullptr ? text : "unknown error"));
}

bool is_plain(const archive_entry* entry) {
  const auto type = archive_entry_filetype(const_cast<archive_entry*>(entry));
  return type == AE_IFREG || type == AE_IFDIR || type == AE_IFLNK;
}

// This process's working directory, elsewhere as long as this lives: libarchive refuses absolute
// paths only of entries that it is given relative to it.
class WorkingDirectory {
 public:
  static Result<WorkingDirectory> enter(const std::string& directory) {
    base::UniqueFd before(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (::chdir(directory.c_str()) != 0) {
      return fail(Error::from_errno(errno, "unpacking into " + directory));
    }
    return WorkingDirectory(std::move(before));
  }
  WorkingDirectory(WorkingDirectory&&) noexcept = default;
  WorkingDirectory& operator=(WorkingDirectory&&) = delete;
  WorkingDirectory(const WorkingDirectory&) = delete;
  WorkingDirectory& operator=(const WorkingDirectory&) = delete;
  ~WorkingDirectory() {
    if (before_.valid()) {
      static_cast<void>(::fchdir(before_.get()));
    }
  }

 private:
  explicit WorkingDirectory(base::UniqueFd before) : before_(std::move(before)) {}
  base::UniqueFd before_;
};

// ---- packing
// ----------------------------------------------------------------------------------------

class Packer {
 public:
  Packer(std::string source, const TakeBytes& take)
      : source_(std::move(source)),
        packing_{&take, std::nullopt},
        tar_(archive_write_new(), archive_write_free),
        disk_(archive_read_disk_new(), archive_read_free),
        entry_(archive_entry_new(), archive_entry_free) {}
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;
  ~Packer() {
    if (!complete_) {
      // What the archive writes when it is closed would make it look whole.
      packing_.error = Error(ErrorCode::kInterrupted, attempted());
    }
  }

  Result<CopyCount> run(const std::string& name, bool follow);

 private:
  [[nodiscard]] std::string attempted() const { return "packing " + source_; }
  Result<void> open(bool follow);
  Result<void> pack_entry(const std::string& path);
  Result<void> pack_data();

  const std::string source_;
  Packing packing_;
  Writer tar_;
  Reader disk_;
  EntryPtr entry_;
  CopyCount count_;
  bool complete_ = false;
};

Result<void> Packer::open(bool follow) {
  archive_write_set_format_gnutar(tar_.get());
  archive_write_set_bytes_per_block(tar_.get(), kBlock);
  archive_write_set_bytes_in_last_block(tar_.get(), 1);
  if (archive_write_open(tar_.get(), &packing_, nullptr, write_block, nullptr) != ARCHIVE_OK) {
    return fail(archive_error(tar_.get(), attempted(), packing_.error));
  }
  // Hybrid: what is named is followed, what is found below is not.
  follow ? archive_read_disk_set_symlink_hybrid(disk_.get())
         : archive_read_disk_set_symlink_physical(disk_.get());
  archive_read_disk_set_behavior(disk_.get(), ARCHIVE_READDISK_NO_XATTR | ARCHIVE_READDISK_NO_ACL |
                                                  ARCHIVE_READDISK_NO_FFLAGS);
  if (archive_read_disk_open(disk_.get(), source_.c_str()) != ARCHIVE_OK) {
    return fail(archive_error(disk_.get(), attempted(), std::nullopt));
  }
  return {};
}

Result<CopyCount> Packer::run(const std::string& name, bool follow) {
  SPORE_TRY(open(follow));
  for (;;) {
    archive_entry_clear(entry_.get());
    const int status = archive_read_next_header2(disk_.get(), entry_.get());
    if (status == ARCHIVE_EOF) {
      break;
    }
    if (status < ARCHIVE_WARN) {
      return fail(archive_error(disk_.get(), attempted(), std::nullopt));
    }
    archive_read_disk_descend(disk_.get());
    std::string_view below = archive_entry_pathname(entry_.get());
    below.remove_prefix(std::min(source_.size(), below.size()));
    while (below.starts_with('/')) {
      below.remove_prefix(1);
    }
    std::string path = name;
    if (!below.empty()) {
      path += (path.empty() ? "" : "/") + std::string(below);
    }
    if (!path.empty()) {  // the source itself has no name when its content is meant
      SPORE_TRY(pack_entry(path));
    }
  }
  if (archive_write_close(tar_.get()) != ARCHIVE_OK) {
    return fail(archive_error(tar_.get(), attempted(), packing_.error));
  }
  complete_ = true;
  return count_;
}

Result<void> Packer::pack_entry(const std::string& path) {
  if (!is_plain(entry_.get())) {
    ++count_.skipped;
    return {};
  }
  archive_entry_set_pathname(entry_.get(), ("./" + path).c_str());
  archive_entry_set_uid(entry_.get(), 0);
  archive_entry_set_gid(entry_.get(), 0);
  archive_entry_set_uname(entry_.get(), nullptr);
  archive_entry_set_gname(entry_.get(), nullptr);
  if (archive_write_header(tar_.get(), entry_.get()) < ARCHIVE_WARN) {
    return fail(archive_error(tar_.get(), attempted(), packing_.error));
  }
  ++count_.entries;
  return archive_entry_filetype(entry_.get()) == AE_IFREG ? pack_data() : Result<void>();
}

Result<void> Packer::pack_data() {
  std::vector<char> buffer(kBlock);
  for (;;) {
    const la_ssize_t got = archive_read_data(disk_.get(), buffer.data(), buffer.size());
    if (got < 0) {
      return fail(archive_error(disk_.get(), attempted(), std::nullopt));
    }
    if (got == 0) {
      return {};
    }
    if (archive_write_data(tar_.get(), buffer.data(), static_cast<std::size_t>(got)) < 0) {
      return fail(archive_error(tar_.get(), attempted(), packing_.error));
    }
    count_.bytes += static_cast<std::uint64_t>(got);
  }
}

// ---- unpacking
// --------------------------------------------------------------------------------------

class Unpacker {
 public:
  Unpacker(const GiveBytes& give, std::string member, std::string directory, std::string name)
      : member_(std::move(member)),
        directory_(std::move(directory)),
        name_(std::move(name)),
        unpacking_{&give, std::nullopt},
        tar_(archive_read_new(), archive_read_free),
        disk_(archive_write_disk_new(), archive_write_free) {}

  Result<CopyCount> run();

 private:
  [[nodiscard]] std::string attempted(std::string_view path) const {
    return fmt::format("unpacking {} into {}", path, directory_);
  }
  Result<void> unpack_entry(archive_entry* entry);
  Result<void> unpack_data(std::string_view path);

  const std::string member_;
  const std::string directory_;
  const std::string name_;
  Unpacking unpacking_;
  Reader tar_;
  Writer disk_;
  CopyCount count_;
};

Result<CopyCount> Unpacker::run() {
  archive_read_support_format_tar(tar_.get());
  archive_read_support_filter_none(tar_.get());
  archive_write_disk_set_options(disk_.get(), kUnpackFlags);
  SPORE_ASSIGN(const WorkingDirectory there, WorkingDirectory::enter(directory_));
  if (archive_read_open(tar_.get(), &unpacking_, nullptr, read_block, nullptr) != ARCHIVE_OK) {
    return fail(archive_error(tar_.get(), attempted("what the guest sent"), unpacking_.error));
  }
  for (;;) {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(tar_.get(), &entry);
    if (status == ARCHIVE_EOF) {
      break;
    }
    if (status < ARCHIVE_WARN) {
      return fail(archive_error(tar_.get(), attempted("what the guest sent"), unpacking_.error));
    }
    SPORE_TRY(unpack_entry(entry));
  }
  // Modes and times of directories are set now.
  if (archive_write_close(disk_.get()) != ARCHIVE_OK) {
    return fail(archive_error(disk_.get(), attempted("directories"), std::nullopt));
  }
  return count_;
}

Result<void> Unpacker::unpack_entry(archive_entry* entry) {
  const char* said = archive_entry_pathname(entry);
  if (said == nullptr) {
    return fail(ErrorCode::kCorrupt,
                attempted("what the guest sent") + ": an entry has no name that can be read");
  }
  SPORE_ASSIGN(const std::string path, target_path(said, member_, name_));
  if (path.empty()) {
    return {};  // the directory itself, which is there
  }
  if (const char* link = archive_entry_hardlink(entry); link != nullptr) {
    SPORE_ASSIGN(const std::string target, target_path(link, member_, name_));
    archive_entry_set_hardlink(entry, target.c_str());
  } else if (!is_plain(entry)) {
    ++count_.skipped;
    return {};
  }
  archive_entry_set_pathname(entry, path.c_str());
  archive_entry_set_perm(entry, archive_entry_perm(entry) & kKeptModes);
  if (archive_write_header(disk_.get(), entry) < ARCHIVE_WARN) {
    return fail(archive_error(disk_.get(), attempted(path), std::nullopt));
  }
  if (archive_entry_size(entry) > 0) {
    SPORE_TRY(unpack_data(path));
  }
  if (archive_write_finish_entry(disk_.get()) < ARCHIVE_WARN) {
    return fail(archive_error(disk_.get(), attempted(path), std::nullopt));
  }
  ++count_.entries;
  return {};
}

Result<void> Unpacker::unpack_data(std::string_view path) {
  for (;;) {
    const void* buffer = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int status = archive_read_data_block(tar_.get(), &buffer, &size, &offset);
    if (status == ARCHIVE_EOF) {
      return {};
    }
    if (status < ARCHIVE_WARN) {
      return fail(archive_error(tar_.get(), attempted(path), unpacking_.error));
    }
    if (archive_write_data_block(disk_.get(), buffer, size, offset) < ARCHIVE_OK) {
      return fail(archive_error(disk_.get(), attempted(path), std::nullopt));
    }
    count_.bytes += size;
  }
}

std::vector<std::string_view> parts_of(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const auto slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
    path.remove_prefix(slash == path.npos ? path.size() : slash + 1);
  }
  return parts;
}

}  // namespace

Result<std::string> target_path(std::string_view entry, std::string_view member,
                                std::string_view name) {
  const auto parts = parts_of(entry);
  const auto expected = parts_of(member);
  const bool below = !entry.starts_with('/') && parts.size() >= expected.size() &&
                     std::equal(expected.begin(), expected.end(), parts.begin());
  if (!below || std::find(parts.begin(), parts.end(), "..") != parts.end()) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("unpacking what the guest sent: it names {}, which was not asked for; "
                            "nothing of it was written",
                            entry.substr(0, kBlock)));
  }
  std::string path(name);
  for (std::size_t i = expected.size(); i < parts.size(); ++i) {
    path += (path.empty() ? "" : "/") + std::string(parts[i]);
  }
  return path;
}

Result<CopyCount> pack_tar(const std::string& source, const std::string& name, bool follow,
                           const TakeBytes& take) {
  return Packer(source, take).run(name, follow);
}

Result<CopyCount> unpack_tar(const GiveBytes& give, const std::string& member,
                             const std::string& directory, const std::string& name) {
  return Unpacker(give, member, directory, name).run();
}

}  // namespace spore::cli::machines
