#include "cli/machines/registry.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/files.h"
#include "base/private_directory.h"

namespace spore::cli::machines {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MonitorRecord, pid, pid_start_time, created, memory_bytes, cpus,
                                   engine, generation, ended, end_reason, end, spore)

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxName = 63;
constexpr std::uint64_t kMaxRecordBytes = 64 * 1024;
constexpr std::uint64_t kMaxStatBytes = 4096;
constexpr int kRegistryLockMs = 10'000;
constexpr int kStartTimeField = 20;  // of /proc/PID/stat, counted from behind the command's ')'

bool is_lower_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

std::optional<MonitorRecord> read_record(const Folder& folder) {
  const auto text = base::read_file(folder.path() + "/monitor.json", kMaxRecordBytes);
  if (!text) {
    return std::nullopt;
  }
  try {
    return nlohmann::json::parse(*text).get<MonitorRecord>();
  } catch (const std::exception&) {
    return std::nullopt;  // not written by a monitor: as good as none
  }
}

Result<void> write_whole(const std::string& path, std::string_view text) {
  const base::UniqueFd fd(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, "writing " + path));
  }
  return base::write_all(fd.get(), text, path);
}

Result<void> remove_folder(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) {
    return fail(Error::from_errno(error.value(), "removing the machine's folder " + path));
  }
  return {};
}

Error no_such_machine(std::string_view name) {
  return Error(ErrorCode::kNotFound,
               fmt::format("finding machine {0}: there is none of that name (`spore list` shows "
                           "them, `spore create {0}` makes one)",
                           name));
}

}  // namespace

std::string_view to_string(State state) noexcept {
  switch (state) {
    case State::kStarting:
      return "starting";
    case State::kRunning:
      return "running";
    case State::kSuspended:
      return "suspended";
    case State::kEnded:
      return "ended";
  }
  return "unknown";
}

Result<void> check_name(std::string_view name) {
  const bool valid = !name.empty() && name.size() <= kMaxName && is_lower_or_digit(name.front()) &&
                     std::all_of(name.begin(), name.end(), [](char c) {
                       return is_lower_or_digit(c) || c == '.' || c == '_' || c == '-';
                     });
  if (!valid) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("naming a machine \"{}\": a name is 1 to {} of a-z, 0-9, '.', '_' and "
                            "'-', and begins with a letter or a digit",
                            name.substr(0, 2 * kMaxName), kMaxName));
  }
  return {};
}

// ---- processes
// --------------------------------------------------------------------------------------

std::optional<std::uint64_t> process_start_time(pid_t pid) {
  const auto stat = base::read_file(fmt::format("/proc/{}/stat", pid), kMaxStatBytes);
  // The command may hold any byte, so look behind its last ')'.
  const auto end = stat ? stat->rfind(')') : std::string::npos;
  if (end == std::string::npos) {
    return std::nullopt;
  }
  std::size_t at = end;
  for (int field = 0; field < kStartTimeField; ++field) {
    at = stat->find(' ', at + 1);
    if (at == std::string::npos) {
      return std::nullopt;
    }
  }
  std::uint64_t ticks = 0;
  const char* first = stat->data() + at + 1;
  if (std::from_chars(first, stat->data() + stat->size(), ticks).ec != std::errc()) {
    return std::nullopt;
  }
  return ticks;
}

Result<std::optional<base::UniqueFd>> open_monitor(const MonitorRecord& record) {
  if (record.pid <= 0) {
    return std::optional<base::UniqueFd>();
  }
  base::UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, record.pid, 0)));
  if (!fd.valid()) {
    if (errno == ESRCH) {
      return std::optional<base::UniqueFd>();
    }
    return fail(Error::from_errno(errno, fmt::format("watching process {}", record.pid)));
  }
  // The descriptor names one process for good, so what /proc says now is about that or a dead one.
  if (process_start_time(record.pid) != record.pid_start_time) {
    return std::optional<base::UniqueFd>();
  }
  return std::optional<base::UniqueFd>(std::move(fd));
}

// ---- one machine
// ------------------------------------------------------------------------------------

Result<void> Folder::write_record(const MonitorRecord& record) const {
  const std::string path = path_ + "/monitor.json";
  const std::string text =
      nlohmann::json(record).dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  SPORE_TRY(write_whole(path + ".new", text + "\n"));
  if (::rename((path + ".new").c_str(), path.c_str()) != 0) {
    return fail(Error::from_errno(errno, "writing " + path));
  }
  return {};
}

Result<void> Folder::write_console(std::string_view text) const {
  return write_whole(console_log(), text);
}

// ---- all of them
// ------------------------------------------------------------------------------------

Result<Registry> Registry::open() {
  const std::string runtime = base::runtime_path();
  SPORE_TRY(base::make_private_directory(
      runtime, fmt::format("using {} for the files of machines", runtime)));
  return open_at(runtime + "/machines");
}

Result<Registry> Registry::open_at(std::string path) {
  SPORE_TRY(
      base::make_private_directory(path, fmt::format("using {} for the files of machines", path)));
  return Registry(std::move(path));
}

Folder Registry::folder(std::string_view name) const {
  return Folder(fmt::format("{}/{}", path_, name));
}

Result<base::FileLock> Registry::lock() const {
  const std::string path = path_ + "/.lock";  // no machine's name begins with a dot
  SPORE_ASSIGN(auto lock, base::FileLock::take(path, kRegistryLockMs));
  if (!lock) {
    return fail(ErrorCode::kTimedOut,
                fmt::format("locking the registry of machines: another spore has held {} for {} s; "
                            "end it, if it hangs",
                            path, kRegistryLockMs / 1000));
  }
  return std::move(*lock);
}

Result<std::optional<Entry>> Registry::look_at(const std::string& name) const {
  const Folder folder = this->folder(name);
  SPORE_ASSIGN(const bool alive, base::FileLock::is_held(folder.alive_lock()));
  Entry entry{name, State::kStarting, read_record(folder)};
  if (entry.record && !alive && !entry.record->spore.empty()) {
    entry.state = State::kSuspended;  // also when it was resumed and its monitor died
  } else if (entry.record && entry.record->ended) {
    entry.state = State::kEnded;
  } else if (!alive) {
    return std::optional<Entry>();
  } else if (entry.record && !entry.record->engine.empty()) {
    entry.state = State::kRunning;
  }
  return entry;
}

Result<Claim> Registry::claim(std::string_view name) const {
  SPORE_TRY(check_name(name));
  SPORE_ASSIGN(const base::FileLock held, lock());
  Folder folder = this->folder(name);
  const std::string attempted = fmt::format("creating machine {}", name);
  if (::access(folder.path().c_str(), F_OK) == 0) {
    SPORE_ASSIGN(const auto entry, look_at(std::string(name)));
    if (entry) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: there is one of that name already ({}); `spore rm {}{}` removes "
                              "it",
                              attempted, to_string(entry->state),
                              is_alive(entry->state) ? "-f " : "", name));
    }
    SPORE_TRY(remove_folder(folder.path()));
  }
  if (::mkdir(folder.path().c_str(), 0700) != 0) {
    return fail(Error::from_errno(errno, fmt::format("{}: making {}", attempted, folder.path())));
  }
  auto alive = base::FileLock::take(folder.alive_lock(), 0);
  if (!alive || !*alive) {
    static_cast<void>(remove_folder(folder.path()));
    return fail(alive ? Error(ErrorCode::kInternal, attempted + ": its new lock is held already")
                      : alive.error().with_context(attempted));
  }
  return Claim{std::move(folder), std::move(**alive)};
}

Result<Claim> Registry::claim_suspended(std::string_view name) const {
  SPORE_TRY(check_name(name));
  SPORE_ASSIGN(const base::FileLock held, lock());
  Folder folder = this->folder(name);
  const std::string attempted = fmt::format("resuming machine {}", name);
  if (::access(folder.path().c_str(), F_OK) != 0) {
    return fail(no_such_machine(name));
  }
  SPORE_ASSIGN(const auto entry, look_at(std::string(name)));
  if (!entry || entry->state != State::kSuspended) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}: it is {}, not suspended", attempted,
                                                         entry ? to_string(entry->state) : "gone"));
  }
  SPORE_ASSIGN(auto alive, base::FileLock::take(folder.alive_lock(), 0));
  if (!alive) {
    return fail(ErrorCode::kUnavailable, attempted + ": another spore is about to do it");
  }
  return Claim{std::move(folder), std::move(*alive)};
}

Result<Listing> Registry::list() const {
  SPORE_ASSIGN(const base::FileLock held, lock());
  Listing listing;
  std::error_code error;
  for (const auto& found : fs::directory_iterator(path_, error)) {
    const std::string name = found.path().filename().string();
    if (!check_name(name)) {
      continue;
    }
    SPORE_ASSIGN(auto entry, look_at(name));
    if (entry) {
      listing.entries.push_back(std::move(*entry));
    } else {
      listing.gone.push_back(name);
    }
  }
  if (error) {
    return fail(Error::from_errno(error.value(), "listing machines in " + path_));
  }
  for (const std::string& name : listing.gone) {
    SPORE_TRY(remove_folder(folder(name).path()));
  }
  std::sort(listing.entries.begin(), listing.entries.end(),
            [](const Entry& left, const Entry& right) { return left.name < right.name; });
  std::sort(listing.gone.begin(), listing.gone.end());
  return listing;
}

Result<Entry> Registry::find(std::string_view name) const {
  SPORE_TRY(check_name(name));
  SPORE_ASSIGN(const base::FileLock held, lock());
  const Folder folder = this->folder(name);
  if (::access(folder.path().c_str(), F_OK) != 0) {
    return fail(no_such_machine(name));
  }
  SPORE_ASSIGN(auto entry, look_at(std::string(name)));
  if (!entry) {
    SPORE_TRY(remove_folder(folder.path()));
    return fail(ErrorCode::kNotFound,
                fmt::format("finding machine {0}: its monitor died without a word, and the machine "
                            "with it; what was left of it is removed now (`spore create {0}` makes "
                            "a new one)",
                            name));
  }
  return std::move(*entry);
}

Result<void> Registry::remove(std::string_view name, std::uint64_t monitor) const {
  SPORE_TRY(check_name(name));
  SPORE_ASSIGN(const base::FileLock held, lock());
  const Folder folder = this->folder(name);
  if (::access(folder.path().c_str(), F_OK) != 0) {
    return {};
  }
  const auto record = read_record(folder);
  if (monitor != 0 && record && record->pid_start_time != monitor) {
    return {};
  }
  SPORE_ASSIGN(const bool alive, base::FileLock::is_held(folder.alive_lock()));
  if (alive) {
    return fail(ErrorCode::kInternal, fmt::format("removing machine {}: its monitor still holds {}",
                                                  name, folder.alive_lock()));
  }
  return remove_folder(folder.path());
}

Result<void> Registry::remove_own(const Folder& folder) const {
  SPORE_ASSIGN(const base::FileLock held, lock());
  return remove_folder(folder.path());
}

}  // namespace spore::cli::machines
