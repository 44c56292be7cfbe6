#include "cli/machines/removal.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace spore::cli::machines {
namespace {

constexpr int kCloseMs = 15'000;
constexpr int kKillMs = 10'000;

bool wait_for_end(int monitor, int timeout_ms) {
  pollfd ended{monitor, POLLIN, 0};
  int ready = 0;
  do {
    ready = poll(&ended, 1, timeout_ms);
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

void send_signal(int monitor, int number) {
  // A failure is its end.
  static_cast<void>(syscall(SYS_pidfd_send_signal, monitor, number, nullptr, 0U));
}

Result<void> end_monitor(const Entry& entry) {
  SPORE_ASSIGN(const auto monitor, open_monitor(*entry.record));
  if (!monitor) {
    return {};
  }
  if (is_alive(entry.state)) {
    send_signal(monitor->get(), SIGTERM);
  }
  if (wait_for_end(monitor->get(), kCloseMs)) {
    return {};
  }
  send_signal(monitor->get(), SIGKILL);
  if (!wait_for_end(monitor->get(), kKillMs)) {
    return fail(ErrorCode::kTimedOut,
                fmt::format("removing machine {}: its monitor (process {}) does not even end when "
                            "it is killed; try again when it has",
                            entry.name, entry.record->pid));
  }
  return {};
}

}  // namespace

Result<void> remove_machine(const Registry& registry, const std::string& name, bool force) {
  SPORE_ASSIGN(const Entry entry, registry.find(name));
  if (is_alive(entry.state) && !force) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("removing machine {0}: it is {1}; `spore rm -f {0}` ends and removes "
                            "it",
                            name, to_string(entry.state)));
  }
  if (!entry.record) {
    return fail(
        ErrorCode::kUnavailable,
        fmt::format("removing machine {}: its monitor is just being started; try again", name));
  }
  SPORE_TRY(end_monitor(entry));
  return registry.remove(name, entry.record->pid_start_time);
}

}  // namespace spore::cli::machines
