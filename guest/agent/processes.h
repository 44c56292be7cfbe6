// ProcessTable: the processes that the host started, their streams and their ends. One thread.
// Ids and payloads come from the host; frames for unknown ids are dropped, because a process may
// end while the host still writes to it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string_view>

#include "agent/cgroups.h"
#include "agent/control.h"
#include "agent/poller.h"

namespace spore::agent {

struct ManagedProcess;

class ProcessTable {
 public:
  // `cgroups` may be null: then a process group stands for what an exec started.
  ProcessTable(Poller& poller, ControlStream& control, Cgroups* cgroups);
  ~ProcessTable();
  ProcessTable(const ProcessTable&) = delete;
  ProcessTable& operator=(const ProcessTable&) = delete;

  void exec(std::uint64_t id, std::string_view payload);
  void input(std::uint64_t id, bool channel, std::string_view bytes);
  void end_input(std::uint64_t id, bool channel);
  void signal(std::uint64_t id, int number);
  void resize(std::uint64_t id, const wire::ResizeMessage& message);
  void acknowledge(std::uint64_t id, const wire::WindowMessage& message);

  // A child of the agent was reaped; most are not in the table (orphans).
  void on_reaped(pid_t pid, int wait_status);
  // Sends all output that is there and that the host has room for.
  void pump_all();
  // No output is sent while paused, and nothing can be started: a capture is near.
  void set_paused(bool paused);
  // The queue to the host has room again.
  void resume_output();

  [[nodiscard]] std::optional<std::uint64_t> id_of(pid_t pid) const;

 private:
  void report_if_over(std::uint64_t id);
  void discard_rest(base::UniqueFd fd);
  [[nodiscard]] ManagedProcess* find(std::uint64_t id) const;

  Poller& poller_;
  ControlStream& control_;
  Cgroups* cgroups_;
  bool paused_ = false;
  std::map<std::uint64_t, std::unique_ptr<ManagedProcess>> processes_;
  std::map<pid_t, std::uint64_t> by_pid_;
  std::map<int, base::UniqueFd> discarded_;  // outputs of daemons that outlive their process
};

}  // namespace spore::agent
