// Cgroups: the workload's cgroup v2 tree. <root>/<process id> holds what one exec started; <root>
// itself is frozen and thawed as a whole. The agent lives outside of it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::agent {

class Cgroups {
 public:
  // `root`: the directory to make below a mounted cgroup v2, such as /sys/fs/cgroup/workload.
  static Result<Cgroups> create(const std::string& root);

  // Makes the group of a process and returns its cgroup.procs.
  Result<std::string> add(std::uint64_t id);
  // Removes the group as soon as no process is in it.
  void remove(std::uint64_t id);
  // Tries again what remove() could not do yet. Called when processes were reaped.
  void remove_empty();

  void signal(std::uint64_t id, int number) const;
  [[nodiscard]] bool ran_out_of_memory(std::uint64_t id) const;
  // The process id whose group `pid` is in.
  [[nodiscard]] std::optional<std::uint64_t> owner_of(pid_t pid) const;

  void freeze();
  void thaw();
  // Also re-arms events_fd(), which reports EPOLLPRI when the answer may have changed.
  [[nodiscard]] bool frozen() const;
  [[nodiscard]] int events_fd() const noexcept { return events_.get(); }
  // The pids that did not freeze, with their command names, for a message.
  [[nodiscard]] std::string unfrozen() const;

 private:
  Cgroups() = default;
  [[nodiscard]] std::string directory(std::uint64_t id) const;

  std::string root_;
  std::string inner_path_;  // root_ as /proc/<pid>/cgroup shows it
  base::UniqueFd freeze_;
  base::UniqueFd events_;
  std::set<std::uint64_t> removed_;  // waiting to be empty
};

}  // namespace spore::agent
