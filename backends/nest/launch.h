// Starts a program that outlives this process, but only if this process lives to see it ready.
//
// The program gets its own session, so that Ctrl-C in a terminal does not reach it. Until
// keep_running() a small guardian process stands between: when this process goes away, however it
// does, the guardian ends the program.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::nest {

class DetachedProcess {
 public:
  // Standard output and error go to `log_path`, standard input is empty, and `inherited_fd` stays
  // open in the program. Signals and environment are this process's.
  static Result<DetachedProcess> launch(const std::vector<std::string>& argv,
                                        const std::string& log_path, int inherited_fd);

  DetachedProcess(DetachedProcess&& other) noexcept;
  DetachedProcess& operator=(DetachedProcess&&) = delete;
  DetachedProcess(const DetachedProcess&) = delete;
  DetachedProcess& operator=(const DetachedProcess&) = delete;
  ~DetachedProcess();  // ends it, unless keep_running() was called

  void keep_running();
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }  // readable when it has ended

 private:
  DetachedProcess(pid_t guardian, pid_t pid, base::UniqueFd pidfd, base::UniqueFd control) noexcept
      : guardian_(guardian), pid_(pid), pidfd_(std::move(pidfd)), control_(std::move(control)) {}
  void dismiss_guardian();

  pid_t guardian_;
  pid_t pid_;
  base::UniqueFd pidfd_;
  base::UniqueFd control_;  // to the guardian: a byte lets the program go, the end kills it
};

// A descriptor of process `pid` that becomes readable when it ends.
Result<base::UniqueFd> open_pidfd(pid_t pid);

}  // namespace spore::nest
