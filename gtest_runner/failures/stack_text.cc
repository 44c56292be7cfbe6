#include "stack_text.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>
#include <sstream>

namespace spore::gtest_runner {
namespace {

constexpr std::string_view kTag = "spore-stack: ";
constexpr std::string_view kOffset = "+0x";
constexpr std::size_t kMostFrames = 64;
constexpr std::size_t kMostNames = std::size_t{1} << 20;  // bytes
constexpr int kHexadecimal = 16;

std::optional<StackFrame> parse_frame(std::string_view line) {
  if (!line.starts_with(kTag)) {
    return std::nullopt;
  }
  line.remove_prefix(kTag.size());
  const auto plus = line.rfind(kOffset);
  if (plus == std::string_view::npos || !line.starts_with('/')) {
    return std::nullopt;
  }
  StackFrame frame{.module = std::string(line.substr(0, plus))};
  const std::string_view digits = line.substr(plus + kOffset.size());
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), frame.offset, kHexadecimal);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return std::nullopt;
  }
  return frame;
}

// A guest names the file: it is to be one that has symbols, and no device or pipe of this host.
bool is_elf_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status {};
  std::array<char, SELFMAG> magic{};
  const bool is = fd >= 0 && ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                  ::read(fd, magic.data(), magic.size()) == SELFMAG &&
                  std::memcmp(magic.data(), ELFMAG, SELFMAG) == 0;
  if (fd >= 0) {
    ::close(fd);
  }
  return is;
}

// What a program prints; nothing if it cannot be run.
std::string output_of(std::vector<std::string> command) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return {};
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
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
  const int failed = ::posix_spawnp(&pid, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  ::close(ends[1]);
  std::string text;
  std::array<char, 4096> block{};
  for (ssize_t got = 1; failed == 0 && got != 0 && text.size() < kMostNames;) {
    got = ::read(ends[0], block.data(), block.size());
    if (got > 0) {
      text.append(block.data(), static_cast<std::size_t>(got));
    } else if (got < 0 && errno != EINTR) {
      break;
    }
  }
  ::close(ends[0]);
  if (failed == 0) {
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  return text;
}

// "function at file:line" for each offset of a module, as addr2line -p writes it.
std::vector<std::string> names_of(const std::string& module,
                                  const std::vector<std::uint64_t>& offsets) {
  std::vector<std::string> command = {"addr2line", "--demangle", "--functions", "--pretty-print",
                                      "--exe=" + module};
  for (const std::uint64_t offset : offsets) {
    command.push_back(fmt::format("{:#x}", offset));
  }
  std::istringstream lines(is_elf_file(module) ? output_of(std::move(command)) : std::string());
  std::vector<std::string> names;
  for (std::string line; std::getline(lines, line);) {
    for (const std::string_view unknown : {" at ??:?", ":?"}) {  // the file, or its line
      if (line.ends_with(unknown)) {
        line.resize(line.size() - unknown.size());
      }
    }
    if (const auto note = line.find(" (discriminator "); note != std::string::npos) {
      line.resize(note);
    }
    names.push_back(line.starts_with("??") ? "" : line);
  }
  names.resize(offsets.size());
  return names;
}

}  // namespace

std::vector<StackFrame> take_stack(std::string& text) {
  std::vector<StackFrame> frames;
  std::string rest;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (auto frame = parse_frame(line); frame && frames.size() < kMostFrames) {
      frames.push_back(std::move(*frame));
    } else {
      rest += line;
      rest += lines.eof() ? "" : "\n";
    }
  }
  text = std::move(rest);
  return frames;
}

std::string stack_text(const std::vector<StackFrame>& frames) {
  std::map<std::string, std::vector<std::uint64_t>> offsets;
  for (const StackFrame& frame : frames) {
    offsets[frame.module].push_back(frame.offset);
  }
  std::map<std::string, std::vector<std::string>> names;
  for (const auto& [module, of_module] : offsets) {
    names[module] = names_of(module, of_module);
  }
  std::map<std::string, std::size_t> next;
  std::string text;
  for (const StackFrame& frame : frames) {
    const std::string& name = names[frame.module][next[frame.module]++];
    if (name.empty()) {
      continue;
    }
    text += fmt::format("  {}\n", name);
    if (name.find("::TestBody()") != std::string::npos) {
      break;  // what is above it is GoogleTest
    }
  }
  return text;
}

}  // namespace spore::gtest_runner
