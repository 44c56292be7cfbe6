#include "agent/reaper.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <system_error>

#include "agent/files.h"

namespace spore::agent {
namespace {

using Clock = std::chrono::steady_clock;

// pid to parent, of all processes that can be seen.
std::map<pid_t, pid_t> parents() {
  std::map<pid_t, pid_t> result;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename().string();
    pid_t pid = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ec != std::errc()) {
      continue;
    }
    // "pid (command) state ppid": the command may hold any byte, so look behind its last ')'.
    const auto stat = read_file("/proc/" + name + "/stat");
    const auto end = stat ? stat->rfind(')') : std::string::npos;
    if (end == std::string::npos || stat->size() < end + 5) {
      continue;
    }
    pid_t parent = 0;
    std::from_chars(stat->data() + end + 4, stat->data() + stat->size(), parent);
    result[pid] = parent;
  }
  return result;
}

void signal_descendants(int number) {
  const auto tree = parents();
  const pid_t self = ::getpid();
  for (const auto& [pid, parent] : tree) {
    std::set<pid_t> seen;  // a pid may be used anew while the tree is read: no loop for ever
    for (pid_t above = parent; seen.insert(above).second;) {
      if (above == self) {
        ::kill(pid, number);
        break;
      }
      const auto next = tree.find(above);
      if (next == tree.end()) {
        break;
      }
      above = next->second;
    }
  }
}

}  // namespace

Result<Reaper> Reaper::create() {
  if (::getpid() != 1 && ::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
    return fail(Error::from_errno(errno, "becoming the reaper of orphaned processes"));
  }
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child, nullptr);
  base::UniqueFd signals(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals.valid()) {
    return fail(Error::from_errno(errno, "watching for ended processes"));
  }
  return Reaper(std::move(signals));
}

void Reaper::start(Poller& poller, OnReaped on_reaped) {
  poller.watch(signals_.get(), EPOLLIN, [this, on_reaped = std::move(on_reaped)](std::uint32_t) {
    drain_signals();
    reap(on_reaped);
  });
}

void Reaper::stop(Poller& poller) {
  poller.forget(signals_.get());
}

void Reaper::end_all(std::chrono::milliseconds grace) {
  const OnReaped ignore = [](pid_t, int) {};
  const auto deadline = Clock::now() + grace;
  if (grace.count() > 0) {
    signal_all(SIGTERM);
  }
  while (reap(ignore)) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) {
      signal_all(SIGKILL);
    }
    pollfd ended{signals_.get(), POLLIN, 0};
    // After the SIGKILL each end may reveal orphans; without one there is nothing new to do.
    ::poll(&ended, 1, left > 0 ? static_cast<int>(left) : -1);
    drain_signals();
  }
}

void Reaper::signal_all(int number) {
  if (::getpid() == 1) {
    ::kill(-1, number);
  } else {
    signal_descendants(number);
  }
}

bool Reaper::reap(const OnReaped& on_reaped) {
  while (true) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid > 0) {
      on_reaped(pid, status);
    } else if (pid == 0) {
      return true;
    } else if (errno != EINTR) {
      return false;
    }
  }
}

void Reaper::drain_signals() const {
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof(info)) > 0) {
  }
}

}  // namespace spore::agent
