#include "agent/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <system_error>

#include "agent/users.h"

namespace spore::agent {
namespace {

using base::UniqueFd;

constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr int kChannelFd = 3;
constexpr int kFirstFreeFd = 16;  // the child's work descriptors are moved above the standard ones

// What the child was doing when it failed; sent to the parent through a close-on-exec pipe.
enum class Step : int { kDescriptors, kSession, kCgroup, kUser, kWorkdir, kProgram };
struct ChildFailure {
  Step step;
  int error_number;
};

// All that the child needs, made before the fork.
struct Plan {
  std::vector<std::string> env_storage;
  std::vector<char*> argv;
  std::vector<char*> env;
  std::vector<std::string> candidates;  // paths of the program, in the order in which to try them
  std::string workdir;
  std::string cgroup_procs;
  std::optional<User> user;
  bool terminal = false;
};

struct Ends {
  std::array<UniqueFd, 4> child;  // by descriptor number
  Spawned parent;
};

StartFailure failure_of(int error_number, std::string_view attempted) {
  return {error_number, Error::from_errno(error_number, attempted).message()};
}

std::vector<std::string> candidates_of(const std::string& program, const std::string& path) {
  if (program.find('/') != std::string::npos) {
    return {program};
  }
  std::vector<std::string> candidates;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find(':', start), path.size());
    const std::string directory = path.substr(start, end - start);
    candidates.push_back((directory.empty() ? "." : directory) + "/" + program);
    start = end + 1;
  }
  return candidates;
}

void fill_environment(const wire::ExecMessage& request, const std::string& home, Plan& plan) {
  auto env = request.env;
  env.try_emplace("PATH", kDefaultPath);
  env.try_emplace("HOME", home);
  env.try_emplace("TERM", request.terminal ? "xterm" : "dumb");
  if (request.channel) {
    env["SPORE_CHANNEL_FD"] = std::to_string(kChannelFd);
  }
  for (const auto& [name, value] : env) {
    plan.env_storage.push_back(name + "=" + value);
  }
  for (auto& entry : plan.env_storage) {
    plan.env.push_back(entry.data());
  }
  plan.env.push_back(nullptr);
  plan.candidates = candidates_of(request.argv.front(), env["PATH"]);
}

tl::expected<Plan, StartFailure> plan_of(const wire::ExecMessage& request,
                                         const std::string& cgroup_procs) {
  if (request.argv.empty() || request.argv.front().empty()) {
    return tl::unexpected(StartFailure{EINVAL, "starting a program: no program was named"});
  }
  Plan plan;
  auto user = find_user(request.user.empty() ? std::to_string(::getuid()) : request.user);
  if (!user) {
    return tl::unexpected(StartFailure{
        ENOENT, fmt::format("starting {}: {}", request.argv.front(), user.error().message())});
  }
  fill_environment(request, user->home, plan);
  if (!request.user.empty()) {
    plan.user = std::move(*user);
  }
  for (const auto& argument : request.argv) {
    plan.argv.push_back(const_cast<char*>(argument.c_str()));  // execve's signature
  }
  plan.argv.push_back(nullptr);
  plan.workdir = request.workdir.empty() ? "/" : request.workdir;
  plan.cgroup_procs = cgroup_procs;
  plan.terminal = request.terminal;
  return plan;
}

// ---- descriptors
// ----------------------------------------------------------------------------------

bool make_pipe(UniqueFd& read_end, UniqueFd& write_end) {
  std::array<int, 2> fds;
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) {
    return false;
  }
  read_end.reset(fds[0]);
  write_end.reset(fds[1]);
  return true;
}

UniqueFd duplicate(const UniqueFd& fd) {
  return UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
}

bool make_terminal(const wire::ExecMessage& request, const std::optional<User>& user, Ends& ends) {
  auto& parent = ends.parent;
  parent.out.reset(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  const int unlock = 0;
  if (!parent.out.valid() || ::ioctl(parent.out.get(), TIOCSPTLCK, &unlock) != 0) {
    return false;
  }
  ends.child[0].reset(::ioctl(parent.out.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!ends.child[0].valid()) {
    return false;
  }
  winsize size{};
  size.ws_row = request.rows;
  size.ws_col = request.columns;
  ::ioctl(parent.out.get(), TIOCSWINSZ, &size);
  if (user && ::fchown(ends.child[0].get(), user->uid, user->gid) != 0) {
    return false;
  }
  ends.child[1] = duplicate(ends.child[0]);
  ends.child[2] = duplicate(ends.child[0]);
  parent.in = duplicate(parent.out);
  return ends.child[1].valid() && ends.child[2].valid() && parent.in.valid();
}

bool make_channel(Ends& ends) {
  std::array<int, 2> fds;
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    return false;
  }
  ends.parent.channel_in.reset(fds[0]);
  ends.child[kChannelFd].reset(fds[1]);
  ends.parent.channel_out = duplicate(ends.parent.channel_in);
  return ends.parent.channel_out.valid();
}

bool make_ends(const wire::ExecMessage& request, const std::optional<User>& user, Ends& ends) {
  auto& parent = ends.parent;
  const bool standard = request.terminal ? make_terminal(request, user, ends)
                                         : make_pipe(ends.child[0], parent.in) &&
                                               make_pipe(parent.out, ends.child[1]) &&
                                               make_pipe(parent.err, ends.child[2]);
  if (!standard || (request.channel && !make_channel(ends))) {
    return false;
  }
  for (const auto* fd : {&parent.in, &parent.out, &parent.err, &parent.channel_in}) {
    if (fd->valid() && ::fcntl(fd->get(), F_SETFL, O_RDWR | O_NONBLOCK) != 0) {
      return false;
    }
  }
  return true;
}

// ---- in the child
// ---------------------------------------------------------------------------------

[[noreturn]] void give_up(int report, Step step, int error_number) {
  const ChildFailure failure{step, error_number};
  [[maybe_unused]] const auto written = ::write(report, &failure, sizeof(failure));
  ::_exit(127);
}

void reset_signals() {
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    ::sigaction(number, &action, nullptr);  // refused for SIGKILL, SIGSTOP and glibc's own
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Puts the ends at 0 to 3 and closes everything else at the exec.
void place_descriptors(Ends& ends, int report) {
  std::array<int, 4> high{-1, -1, -1, -1};
  for (std::size_t i = 0; i < high.size(); ++i) {
    if (ends.child[i].valid()) {
      high[i] = ::fcntl(ends.child[i].get(), F_DUPFD_CLOEXEC, kFirstFreeFd);
    }
  }
  for (std::size_t i = 0; i < high.size(); ++i) {
    if (high[i] >= 0 && ::dup2(high[i], static_cast<int>(i)) < 0) {
      give_up(report, Step::kDescriptors, errno);
    }
  }
  const unsigned first = high[kChannelFd] >= 0 ? kChannelFd + 1U : kChannelFd;
  ::close_range(first, ~0U, CLOSE_RANGE_CLOEXEC);
}

void become(const User& user, int report) {
  if (::setgroups(user.groups.size(), user.groups.data()) != 0 ||
      ::setresgid(user.gid, user.gid, user.gid) != 0 ||
      ::setresuid(user.uid, user.uid, user.uid) != 0) {
    give_up(report, Step::kUser, errno);
  }
}

void enter_cgroup(const std::string& cgroup_procs, int report) {
  if (cgroup_procs.empty()) {
    return;
  }
  const int fd = ::open(cgroup_procs.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0 || ::write(fd, "0", 1) != 1) {
    give_up(report, Step::kCgroup, errno);
  }
}

[[noreturn]] void run_program(const Plan& plan, int report) {
  int error_number = ENOENT;
  for (const auto& candidate : plan.candidates) {
    ::execve(candidate.c_str(), plan.argv.data(), plan.env.data());
    // A directory of PATH that does not help must not hide the reason found in an earlier one.
    if (errno != ENOENT && errno != ENOTDIR) {
      error_number = errno;
    }
    if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) {
      break;
    }
  }
  give_up(report, Step::kProgram, error_number);
}

[[noreturn]] void run_child(const Plan& plan, Ends& ends, UniqueFd report_end) {
  const int report = ::fcntl(report_end.get(), F_DUPFD_CLOEXEC, kFirstFreeFd);
  place_descriptors(ends, report);
  enter_cgroup(plan.cgroup_procs, report);
  if (::setsid() < 0 || (plan.terminal && ::ioctl(0, TIOCSCTTY, 0) != 0)) {
    give_up(report, Step::kSession, errno);
  }
  reset_signals();
  ::umask(022);
  if (plan.user) {
    become(*plan.user, report);
  }
  if (::chdir(plan.workdir.c_str()) != 0) {
    give_up(report, Step::kWorkdir, errno);
  }
  run_program(plan, report);
}

// ---- in the parent
// --------------------------------------------------------------------------------

StartFailure explain(const ChildFailure& failure, const wire::ExecMessage& request,
                     const Plan& plan) {
  const auto& program = request.argv.front();
  const int number = failure.error_number;
  const auto reason = std::generic_category().message(number);
  switch (failure.step) {
    case Step::kWorkdir:
      return {number, fmt::format("starting {}: cannot enter the working directory {}: {}", program,
                                  plan.workdir, reason)};
    case Step::kUser:
      return {number,
              fmt::format("starting {}: cannot become user {}: {}", program, request.user, reason)};
    case Step::kProgram:
      break;
    default:
      return {number,
              fmt::format("starting {}: cannot set up the new process: {}", program, reason)};
  }
  const bool is_there =
      std::any_of(plan.candidates.begin(), plan.candidates.end(),
                  [](const std::string& path) { return ::access(path.c_str(), F_OK) == 0; });
  if (number == ENOENT && !is_there && plan.candidates.size() > 1) {
    return {number,
            fmt::format("no such program: {} is in no directory of PATH in the machine", program)};
  }
  if (number == ENOENT && is_there) {
    return {number, fmt::format("starting {}: its interpreter or dynamic loader is missing in the "
                                "machine; add it to the root image",
                                program)};
  }
  if (number == ENOENT) {
    return {number, fmt::format("no such program: {}", program)};
  }
  if (number == ENOEXEC) {
    return {number,
            fmt::format("starting {}: not a program for this machine's processor", program)};
  }
  return {number, fmt::format("starting {}: {}", program, reason)};
}

}  // namespace

tl::expected<Spawned, StartFailure> spawn(const wire::ExecMessage& request,
                                          const std::string& cgroup_procs) {
  auto plan = plan_of(request, cgroup_procs);
  if (!plan) {
    return tl::unexpected(plan.error());
  }
  Ends ends;
  UniqueFd report_read;
  UniqueFd report_write;
  if (!make_ends(request, plan->user, ends) || !make_pipe(report_read, report_write)) {
    return tl::unexpected(failure_of(errno, "making pipes for " + request.argv.front()));
  }
  const pid_t pid = ::fork();
  if (pid < 0) {
    return tl::unexpected(failure_of(errno, "starting " + request.argv.front()));
  }
  if (pid == 0) {
    run_child(*plan, ends, std::move(report_write));
  }
  report_write.reset();
  ChildFailure failure{};
  ssize_t got = 0;
  do {
    got = ::read(report_read.get(), &failure, sizeof(failure));
  } while (got < 0 && errno == EINTR);
  if (got == static_cast<ssize_t>(sizeof(failure))) {
    return tl::unexpected(explain(failure, request, *plan));
  }
  ends.parent.pid = pid;
  return std::move(ends.parent);
}

}  // namespace spore::agent
