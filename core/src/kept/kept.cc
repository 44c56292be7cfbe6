// A kept machine is a folder, "<cache>/kept/<digest>", with
//   machine/   the spore
//   key.json   label, parts, the notes' SHA-256, when it was kept; the digest is that of the parts
//   notes      the runner's
//   in-use     a lock: shared while it is used, held alone by who makes or removes it. When it was
//              used last is the time of this file
#include "spore/kept.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "base/digest.h"
#include "base/file_lock.h"
#include "base/files.h"
#include "image/cache.h"
#include "snapshot/document.h"
#include "snapshot/folder_scan.h"
#include "snapshot/staging.h"

namespace spore {
namespace kept {
namespace {

namespace fs = std::filesystem;
using base::FileLock;

constexpr const char* kFolder = "kept";
constexpr const char* kMachine = "machine";
constexpr const char* kKeyFile = "key.json";
constexpr const char* kNotesFile = "notes";
constexpr const char* kLockFile = "in-use";
constexpr std::uint64_t kMaxKeyBytes = 16ULL << 20U;
// A folder in the making has its lock within this time.
constexpr std::time_t kMakingSeconds = 60;

// What key.json says.
struct Key {
  std::string label;
  KeptParts parts;
  std::string notes;  // SHA-256
  std::uint64_t kept = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Key, label, parts, notes, kept)

Result<std::string> folder_of_all() {
  SPORE_ASSIGN(const image::Cache cache, image::Cache::open());
  std::string folder = cache.path(kFolder);
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail(Error::from_errno(errno, fmt::format("making the folder {}", folder)));
  }
  return folder;
}

std::string in(const std::string& folder, const char* name) {
  return fmt::format("{}/{}", folder, name);
}

std::uint64_t modified(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_mtim.tv_sec) : 0;
}

// Whether the lock is that of the folder that is there now, and not of one that was removed.
bool is_lock_of(const FileLock& lock, const std::string& folder) {
  struct stat held {};
  struct stat there {};
  return ::fstat(lock.fd(), &held) == 0 && ::stat(in(folder, kLockFile).c_str(), &there) == 0 &&
         held.st_ino == there.st_ino && held.st_dev == there.st_dev;
}

Result<Key> read_key(const std::string& folder) {
  const std::string path = in(folder, kKeyFile);
  SPORE_ASSIGN(const std::string bytes, base::read_file(path, kMaxKeyBytes));
  SPORE_ASSIGN(Key key, snapshot::from_document<Key>(bytes, path));
  if (kept_digest(key.parts) != fs::path(folder).filename()) {
    return fail(snapshot::not_such_a_document(path, "it belongs to another machine"));
  }
  return key;
}

// One that is damaged says so; it can still be removed.
Result<KeptInfo> read_info(const std::string& folder) {
  auto read = read_key(folder);
  Key key = read ? std::move(*read) : Key{read.error().message(), {}, {}, 0};
  SPORE_ASSIGN(const auto usage, snapshot::measure_tree(folder));
  return KeptInfo{fs::path(folder).filename().string(),
                  std::move(key.label),
                  std::move(key.parts),
                  folder,
                  usage.bytes,
                  key.kept,
                  modified(in(folder, kLockFile))};
}

class InUse final : public KeptMachine {
 public:
  InUse(FileLock lock, std::string path, std::string notes)
      : lock_(std::move(lock)), path_(std::move(path)), notes_(std::move(notes)) {}
  [[nodiscard]] const std::string& path() const noexcept override { return path_; }
  [[nodiscard]] const std::string& notes() const noexcept override { return notes_; }

 private:
  const FileLock lock_;
  const std::string path_;
  const std::string notes_;
};

// Removes the folder of which `lock` is held alone: it is gone at once.
Result<void> remove_locked(const std::string& folder) {
  const std::string staging = snapshot::staging_path(folder);
  if (std::rename(folder.c_str(), staging.c_str()) != 0) {
    return fail(Error::from_errno(errno, fmt::format("removing the kept machine {}", folder)));
  }
  return snapshot::remove_tree(staging);
}

// False: somebody uses it, or it is gone.
Result<bool> remove_unused(const std::string& folder) {
  if (!snapshot::is_there(in(folder, kLockFile))) {
    return false;
  }
  SPORE_ASSIGN(const auto lock, FileLock::take(in(folder, kLockFile), 0));
  if (!lock || !is_lock_of(*lock, folder)) {
    return false;
  }
  SPORE_TRY(remove_locked(folder));
  return true;
}

// What dead programs left in the making: nobody holds its lock.
void remove_stale(const std::string& all) {
  std::error_code error;
  for (fs::directory_iterator at(all, error), end; !error && at != end; at.increment(error)) {
    const std::string path = at->path().string();
    struct stat status {};
    if (!snapshot::is_staging_name(at->path().filename().string()) ||
        ::stat(path.c_str(), &status) != 0 ||
        std::time(nullptr) - status.st_mtim.tv_sec < kMakingSeconds) {
      continue;
    }
    const auto lock = FileLock::take(in(path, kLockFile), 0);
    if (lock && *lock) {
      (void)snapshot::remove_tree(path);
    }
  }
}

std::string size_text(std::uint64_t bytes) {
  return fmt::format("{} MiB", bytes >> 20U);
}

// Removes what was used least recently until `coming` more bytes have room.
Result<void> make_room(std::uint64_t coming) {
  SPORE_ASSIGN(const std::uint64_t limit, kept_limit());
  if (coming > limit) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("keeping the machine for the next run: it takes {}, and all that are "
                            "kept may take {}: set SPORE_KEPT_LIMIT to more",
                            size_text(coming), size_text(limit)));
  }
  SPORE_ASSIGN(auto all, kept_machines());
  std::uint64_t total = coming;
  for (const KeptInfo& one : all) {
    total += one.bytes;
  }
  for (; total > limit && !all.empty(); all.pop_back()) {
    SPORE_ASSIGN(const bool removed, remove_unused(all.back().path));
    total -= removed ? all.back().bytes : 0;
  }
  return {};
}

Result<void> check_size(const KeptParts& parts, const std::string& notes) {
  if (parts.size() > kMaxKeptParts || notes.size() > kMaxKeptNotes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("keeping the machine for the next run: {} parts of a key and {} of "
                            "notes are too many",
                            parts.size(), size_text(notes.size())));
  }
  return {};
}

}  // namespace
}  // namespace kept

std::string kept_digest(const KeptParts& parts) {
  return base::sha256_of(snapshot::to_document(parts));
}

Result<std::uint64_t> kept_limit() {
  const char* given = std::getenv("SPORE_KEPT_LIMIT");
  const std::string_view text = given == nullptr || *given == '\0' ? "8G" : given;
  std::uint64_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(static_cast<std::size_t>(rest - text.data()));
  if (error != std::errc() || number > 1'000'000'000 || (unit != "G" && unit != "M")) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("reading SPORE_KEPT_LIMIT: \"{}\" is not a size such as 8G or 512M", text));
  }
  return number << (unit == "G" ? 30U : 20U);
}

Result<std::shared_ptr<KeptMachine>> find_kept(const KeptParts& parts) {
  SPORE_ASSIGN(const std::string all, kept::folder_of_all());
  const std::string folder = fmt::format("{}/{}", all, kept_digest(parts));
  const std::string lock_path = kept::in(folder, kept::kLockFile);
  if (!snapshot::is_there(lock_path)) {
    return nullptr;
  }
  SPORE_ASSIGN(auto lock, base::FileLock::share(lock_path));
  if (!lock || !kept::is_lock_of(*lock, folder)) {
    return nullptr;  // it is being removed
  }
  SPORE_ASSIGN(const kept::Key key, kept::read_key(folder));
  const std::string notes_path = kept::in(folder, kept::kNotesFile);
  SPORE_ASSIGN(std::string notes, base::read_file(notes_path, kMaxKeptNotes));
  if (base::sha256_of(notes) != key.notes) {
    return fail(snapshot::not_such_a_document(notes_path, "it is not as it was written"));
  }
  ::futimens(lock->fd(), nullptr);
  return std::make_shared<kept::InUse>(std::move(*lock), kept::in(folder, kept::kMachine),
                                       std::move(notes));
}

Result<KeptInfo> keep_machine(const std::string& label, const KeptParts& parts,
                              const std::string& notes,
                              const std::function<Result<void>(const std::string& path)>& save) {
  SPORE_TRY(kept::check_size(parts, notes));
  SPORE_ASSIGN(const std::string all, kept::folder_of_all());
  kept::remove_stale(all);
  const std::string folder = fmt::format("{}/{}", all, kept_digest(parts));
  SPORE_TRY(kept::remove_unused(folder));
  if (snapshot::is_there(folder)) {
    return kept::read_info(folder);  // another program uses it, or has just kept it
  }
  SPORE_ASSIGN(auto staging, snapshot::Staging::create(folder, "keeping the machine"));
  SPORE_ASSIGN(auto lock,
               base::FileLock::take(kept::in(staging.path(), kept::kLockFile), /*timeout_ms=*/0));
  SPORE_TRY(save(kept::in(staging.path(), kept::kMachine)));
  SPORE_TRY(
      base::write_new_file(kept::in(staging.path(), kept::kNotesFile), notes, base::Sync::kLater));
  const kept::Key key{label, parts, base::sha256_of(notes),
                      static_cast<std::uint64_t>(std::time(nullptr))};
  SPORE_TRY(base::write_new_file(kept::in(staging.path(), kept::kKeyFile),
                                 snapshot::to_document(key), base::Sync::kLater));
  SPORE_ASSIGN(const auto usage, snapshot::measure_tree(staging.path()));
  SPORE_TRY(kept::make_room(usage.bytes));
  SPORE_TRY(staging.sync());
  SPORE_TRY(staging.publish());
  return kept::read_info(folder);
}

Result<std::vector<KeptInfo>> kept_machines() {
  SPORE_ASSIGN(const std::string all, kept::folder_of_all());
  std::vector<KeptInfo> found;
  std::error_code error;
  for (std::filesystem::directory_iterator at(all, error), end; !error && at != end;
       at.increment(error)) {
    if (snapshot::is_digest(at->path().filename().string())) {
      if (auto info = kept::read_info(at->path().string())) {
        found.push_back(std::move(*info));  // else it went away meanwhile
      }
    }
  }
  std::sort(found.begin(), found.end(), [](const KeptInfo& left, const KeptInfo& right) {
    return std::tie(left.used, left.digest) > std::tie(right.used, right.digest);
  });
  return found;
}

Result<bool> remove_kept(const std::string& digest) {
  if (!snapshot::is_digest(digest)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("removing the kept machine \"{}\": that is no digest", digest));
  }
  SPORE_ASSIGN(const std::string all, kept::folder_of_all());
  return kept::remove_unused(fmt::format("{}/{}", all, digest));
}

}  // namespace spore
