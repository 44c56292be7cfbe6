#include "stack_text.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>
#include <sstream>

#include "gtest_runner/host_command.h"

namespace spore::gtest_runner {
namespace {

constexpr std::string_view kTag = "spore-stack: ";
constexpr std::string_view kOffset = "+0x";
constexpr std::size_t kMostFrames = 64;
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

// "function at file:line" for each offset of a module, as addr2line -p writes it.
std::vector<std::string> names_of(const std::string& module,
                                  const std::vector<std::uint64_t>& offsets) {
  std::vector<std::string> command = {"addr2line", "--demangle", "--functions", "--pretty-print",
                                      "--exe=" + module};
  for (const std::uint64_t offset : offsets) {
    command.push_back(fmt::format("{:#x}", offset));
  }
  std::istringstream lines(is_elf_file(module)
                               ? run_on_host(std::move(command), Said::kOnStdout).value_or("")
                               : std::string());
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
