#include "image/subprocess.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/unique_fd.h"

extern char** environ;

namespace spore::image {
namespace {

constexpr std::size_t kMaxOutput = 16 * 1024 * 1024;

struct Pipe {
  base::UniqueFd read_end;
  base::UniqueFd write_end;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return fail(Error::from_errno(errno, "make a pipe"));
  }
  return Pipe{base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
}

}  // namespace

Result<Subprocess> Subprocess::start(const std::vector<std::string>& argv,
                                     const std::vector<std::pair<int, int>>& descriptors) {
  std::vector<char*> arguments;
  for (const std::string& argument : argv) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  // Copies above all numbers that the child uses, so that no dup2() overwrites another's source.
  std::vector<base::UniqueFd> copies;
  for (const auto& [ours, theirs] : descriptors) {
    copies.emplace_back(::fcntl(ours, F_DUPFD_CLOEXEC, 64));
    posix_spawn_file_actions_adddup2(&actions, copies.back().get(), theirs);
  }
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = -1;
  const int error =
      ::posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return fail(Error::from_errno(error, fmt::format("start {}", argv[0])));
  }
  return Subprocess(pid);
}

Subprocess::~Subprocess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    static_cast<void>(wait());
  }
}

Result<Subprocess::End> Subprocess::wait() {
  int status = 0;
  const pid_t pid = std::exchange(pid_, -1);
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) {
      return fail(Error::from_errno(errno, "wait for a program"));
    }
  }
  return End{WIFEXITED(status) ? WEXITSTATUS(status) : 0,
             WIFSIGNALED(status) ? WTERMSIG(status) : 0};
}

Result<CommandOutput> run_command(const std::vector<std::string>& argv,
                                  std::chrono::milliseconds timeout) {
  base::UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  SPORE_ASSIGN(Pipe out, make_pipe());
  SPORE_ASSIGN(Pipe err, make_pipe());
  SPORE_ASSIGN(Subprocess child,
               Subprocess::start(
                   argv, {{nothing.get(), 0}, {out.write_end.get(), 1}, {err.write_end.get(), 2}}));
  out.write_end.reset();
  err.write_end.reset();
  CommandOutput output;
  std::array<pollfd, 2> polled{pollfd{out.read_end.get(), POLLIN, 0},
                               pollfd{err.read_end.get(), POLLIN, 0}};
  const std::array<std::string*, 2> texts{&output.standard_output, &output.standard_error};
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (polled[0].fd >= 0 || polled[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    const int ready = left.count() <= 0
                          ? 0
                          : ::poll(polled.data(), polled.size(), static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR) {
      continue;
    }
    if (ready <= 0) {
      return fail(ErrorCode::kTimedOut,
                  fmt::format("run {}: it did not end in {} s", argv[0], timeout.count() / 1000));
    }
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if (polled[i].fd < 0 || polled[i].revents == 0) {
        continue;
      }
      std::array<char, 65536> block;
      const ssize_t count = ::read(polled[i].fd, block.data(), block.size());
      if (count > 0 && texts[i]->size() < kMaxOutput) {
        texts[i]->append(block.data(), static_cast<std::size_t>(count));
      } else if (count == 0 || (count < 0 && errno != EINTR)) {
        polled[i].fd = -1;
      }
    }
  }
  SPORE_ASSIGN(output.end, child.wait());
  return output;
}

}  // namespace spore::image
