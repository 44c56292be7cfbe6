// The named machines of this user: one folder each in <runtime directory>/machines, made by
// `spore create`, owned by the machine's monitor.
//
//   NAME/alive.lock    held by the monitor (at first by its creator too): who holds it lives
//   NAME/monitor.json  MonitorRecord
//   NAME/socket        where the monitor answers
//   NAME/console.log   of a machine that ended: what its guest's console said last
//   NAME/monitor.log   what the monitor had to complain about
//
// A folder whose lock nobody holds, and that tells of no end, is what a dead monitor left: the next
// who looks removes it. All changes of the set of folders are made with the registry's lock held.
//
// Hostile bytes: none but the user's own files; a record is checked nevertheless.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_lock.h"
#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::cli::machines {

// [a-z0-9][a-z0-9._-]{0,62}
Result<void> check_name(std::string_view name);

// What a monitor tells about itself and its machine.
struct MonitorRecord {
  std::int32_t pid = 0;
  std::uint64_t pid_start_time = 0;  // in ticks since boot: tells it from a later process `pid`
  std::int64_t created = 0;          // seconds since the epoch
  std::uint64_t memory_bytes = 0;
  std::uint32_t cpus = 0;
  std::string engine;      // empty until the machine runs
  std::string generation;  // its id; empty until the machine runs
  bool ended = false;
  std::string end_reason;  // one of EndReason's, when it ended
  std::string end;         // a clause for a person
  std::string spore;       // where it was saved, when it was suspended
};

enum class State { kStarting, kRunning, kSuspended, kEnded };
std::string_view to_string(State state) noexcept;
// Has a monitor.
constexpr bool is_alive(State state) noexcept {
  return state == State::kStarting || state == State::kRunning;
}

struct Entry {
  std::string name;
  State state = State::kStarting;
  std::optional<MonitorRecord> record;  // none in the first moment of a start
};

// When the process with this id was started; nullopt when there is none.
std::optional<std::uint64_t> process_start_time(pid_t pid);
// A pidfd of the record's monitor; nullopt when that is gone, whoever has its pid now.
Result<std::optional<base::UniqueFd>> open_monitor(const MonitorRecord& record);

// The folder of one machine.
class Folder {
 public:
  explicit Folder(std::string path) : path_(std::move(path)) {}
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::string alive_lock() const { return path_ + "/alive.lock"; }
  [[nodiscard]] std::string console_log() const { return path_ + "/console.log"; }
  [[nodiscard]] std::string monitor_log() const { return path_ + "/monitor.log"; }

  // Replaces the record as a whole.
  [[nodiscard]] Result<void> write_record(const MonitorRecord& record) const;
  [[nodiscard]] Result<void> write_console(std::string_view text) const;

 private:
  std::string path_;
};

// A name taken for a machine that is to be.
struct Claim {
  Folder folder;
  base::FileLock alive;
};

struct Listing {
  std::vector<Entry> entries;     // by name
  std::vector<std::string> gone;  // whose monitors were found dead, and are removed now
};

class Registry {
 public:
  // In the runtime directory of this environment.
  static Result<Registry> open();
  // At `path`, which is made if needed.
  static Result<Registry> open_at(std::string path);

  [[nodiscard]] Folder folder(std::string_view name) const;

  // kInvalidArgument when there is a machine of that name, even one that ended.
  [[nodiscard]] Result<Claim> claim(std::string_view name) const;
  // The lock of a suspended machine that is to go on. kInvalidArgument when it is not suspended.
  [[nodiscard]] Result<Claim> claim_suspended(std::string_view name) const;
  [[nodiscard]] Result<Listing> list() const;
  // kNotFound when there is none, and when its monitor was found dead.
  [[nodiscard]] Result<Entry> find(std::string_view name) const;
  // Removes the folder of a machine that is over: one whose lock nobody holds any more.
  // `monitor` (0: any): nothing is done if the folder is that of another monitor by now.
  [[nodiscard]] Result<void> remove(std::string_view name, std::uint64_t monitor) const;
  // The same for the monitor itself, which holds the lock.
  [[nodiscard]] Result<void> remove_own(const Folder& folder) const;

 private:
  explicit Registry(std::string path) : path_(std::move(path)) {}
  [[nodiscard]] Result<base::FileLock> lock() const;
  // nullopt: a dead monitor's.
  [[nodiscard]] Result<std::optional<Entry>> look_at(const std::string& name) const;

  std::string path_;
};

}  // namespace spore::cli::machines
