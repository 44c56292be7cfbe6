#include "nest/launch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <utility>

namespace spore::nest {
namespace {

// What the guardian tells its parent: the program's pid, or why there is none.
struct Report {
  std::int32_t pid = -1;
  std::int32_t error_number = 0;
};

// Everything the children need, made before the fork: between fork and exec of a process with
// threads only async-signal-safe calls are allowed.
struct Plan {
  std::vector<char*> argv;
  int log_fd;
  int null_fd;
  int inherited_fd;
  int guardian_fd;
  int exec_reader;  // brings errno when the exec failed, and ends when it did not
  int exec_writer;
};

void reset_signals() {
  for (int number = 1; number < NSIG; ++number) {
    signal(number, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void run_program(const Plan& plan) {
  dup2(plan.null_fd, STDIN_FILENO);
  dup2(plan.log_fd, STDOUT_FILENO);
  dup2(plan.log_fd, STDERR_FILENO);
  const int keep = fcntl(plan.inherited_fd, F_DUPFD, 3);
  // Everything else of this process is closed by the exec, whether or not it was opened with
  // O_CLOEXEC; the flag leaves the way to report a failed exec open.
  syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
  fcntl(keep, F_SETFD, 0);
  execv(plan.argv[0], plan.argv.data());
  const int error_number = errno;
  static_cast<void>(!write(plan.exec_writer, &error_number, sizeof(error_number)));
  _exit(127);
}

template <typename T>
bool read_one(int fd, T& value) {
  ssize_t n = 0;
  do {
    n = read(fd, &value, sizeof(value));
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(sizeof(value));
}

void close_all_but(int keep) {
  if (keep > 3) {
    syscall(SYS_close_range, 3U, static_cast<unsigned>(keep) - 1, 0U);
  }
  syscall(SYS_close_range, static_cast<unsigned>(keep) + 1, ~0U, 0U);
}

[[noreturn]] void run_guardian(const Plan& plan) {
  reset_signals();
  setsid();
  const pid_t program = fork();
  if (program == 0) {
    run_program(plan);
  }
  Report report{.pid = program, .error_number = program < 0 ? errno : 0};
  close(plan.exec_writer);
  if (int error_number = 0; program > 0 && read_one(plan.exec_reader, error_number)) {
    report = {.pid = -1, .error_number = error_number};
  }
  for (int fd = 0; fd <= 2; ++fd) {
    dup2(plan.null_fd, fd);
  }
  close_all_but(plan.guardian_fd);
  static_cast<void>(!write(plan.guardian_fd, &report, sizeof(report)));
  char order = 0;
  if (!read_one(plan.guardian_fd, order) && report.pid > 0) {
    kill(program, SIGKILL);
    waitpid(program, nullptr, 0);
  }
  _exit(0);
}

void reap(pid_t pid) {
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

Result<base::UniqueFd> open_pidfd(pid_t pid) {
  base::UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, fmt::format("watching process {}", pid)));
  }
  return fd;
}

Result<DetachedProcess> DetachedProcess::launch(const std::vector<std::string>& argv,
                                                const std::string& log_path, int inherited_fd) {
  const auto attempted = fmt::format("starting {}", argv.front());
  const base::UniqueFd log(
      open(log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  const base::UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  int ends[2];
  if (!log.valid() || !null.valid() ||
      socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail(Error::from_errno(errno, fmt::format("{} with its log {}", attempted, log_path)));
  }
  base::UniqueFd control(ends[0]);
  base::UniqueFd guardian_end(ends[1]);
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return fail(Error::from_errno(errno, attempted));
  }
  const base::UniqueFd exec_reader(ends[0]);
  base::UniqueFd exec_writer(ends[1]);

  Plan plan{.argv = {},
            .log_fd = log.get(),
            .null_fd = null.get(),
            .inherited_fd = inherited_fd,
            .guardian_fd = guardian_end.get(),
            .exec_reader = exec_reader.get(),
            .exec_writer = exec_writer.get()};
  for (const std::string& argument : argv) {
    plan.argv.push_back(const_cast<char*>(argument.c_str()));
  }
  plan.argv.push_back(nullptr);
  const pid_t guardian = fork();
  if (guardian < 0) {
    return fail(Error::from_errno(errno, attempted));
  }
  if (guardian == 0) {
    run_guardian(plan);
  }
  guardian_end.reset();
  exec_writer.reset();

  Report report;
  if (!read_one(control.get(), report) || report.pid < 0) {
    control.reset();
    reap(guardian);
    return fail(
        Error::from_errno(report.error_number != 0 ? report.error_number : ECHILD, attempted));
  }
  auto pidfd = open_pidfd(report.pid);
  if (!pidfd) {
    control.reset();
    reap(guardian);
    return fail(pidfd.error().with_context(attempted));
  }
  return DetachedProcess(guardian, report.pid, std::move(*pidfd), std::move(control));
}

DetachedProcess::DetachedProcess(DetachedProcess&& other) noexcept
    : guardian_(std::exchange(other.guardian_, -1)),
      pid_(other.pid_),
      pidfd_(std::move(other.pidfd_)),
      control_(std::move(other.control_)) {}

DetachedProcess::~DetachedProcess() {
  dismiss_guardian();
}

void DetachedProcess::keep_running() {
  const char order = 'k';
  static_cast<void>(send(control_.get(), &order, 1, MSG_NOSIGNAL));
  dismiss_guardian();
}

void DetachedProcess::dismiss_guardian() {
  control_.reset();
  if (guardian_ > 0) {
    reap(std::exchange(guardian_, -1));
  }
}

}  // namespace spore::nest
