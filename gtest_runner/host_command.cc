#include "host_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

namespace spore::gtest_runner {
namespace {

constexpr std::size_t kMostSaid = std::size_t{1} << 20;  // bytes
constexpr std::size_t kMostTold = 2000;                  // of them, in an error

std::string read_all(int fd) {
  std::string text;
  std::array<char, 4096> block{};
  for (ssize_t got = 1; got != 0;) {
    got = ::read(fd, block.data(), block.size());
    if (got > 0) {
      const auto room = std::min(static_cast<std::size_t>(got), kMostSaid - text.size());
      text.append(block.data(), room);
    } else if (got < 0 && errno != EINTR) {
      break;
    }
  }
  return text;
}

// One line of what may be many.
std::string in_one_line(std::string text) {
  text.resize(std::min(text.size(), kMostTold));
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  for (auto at = text.find('\n'); at != std::string::npos; at = text.find('\n', at)) {
    text.replace(at, 1, "; ");
  }
  return text;
}

// gcov-tool is of libgcov itself, and would write elsewhere for its variables.
std::vector<char*> environment_for_tools() {
  std::vector<char*> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("GCOV_PREFIX")) {
      entries.push_back(*entry);
    }
  }
  entries.push_back(nullptr);
  return entries;
}

}  // namespace

Result<std::string> run_on_host(std::vector<std::string> command, Said said) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return fail(Error::from_errno(errno, fmt::format("making a pipe for {}", command[0])));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  if (said == Said::kAll) {
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  } else {
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  std::vector<char*> argv;
  for (std::string& word : command) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);  // ours are blocked for the thread that waits
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, argv[0], &actions, &attributes, argv.data(),
                                    environment_for_tools().data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  ::close(ends[1]);
  std::string text = failed == 0 ? read_all(ends[0]) : std::string();
  ::close(ends[0]);
  if (failed != 0) {
    return fail(Error::from_errno(failed, fmt::format("running {}", command[0])));
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return fail(ErrorCode::kInternal,
                fmt::format("{} failed: {}", command[0], in_one_line(std::move(text))));
  }
  return text;
}

}  // namespace spore::gtest_runner
