#include "debug.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "failure_keeper.h"

namespace spore::gtest_runner {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostNamed = 8;

// The directories of runs, the newest first.
std::vector<fs::path> runs_in(const std::string& parent) {
  std::vector<std::pair<int, fs::path>> found;
  std::error_code error;
  for (fs::directory_iterator at(parent, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename();
    int number = 0;
    const auto [rest, wrong] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (wrong == std::errc() && rest == name.data() + name.size()) {
      found.emplace_back(-number, at->path());
    }
  }
  std::sort(found.begin(), found.end());
  std::vector<fs::path> runs;
  for (auto& [number, path] : found) {
    runs.push_back(std::move(path));
  }
  return runs;
}

// One word for a shell.
std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) {
    text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return text + "'";
}

}  // namespace

std::string find_debug_server() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/bin" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = folder + "/gdbserver";
    if (::access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
  }
  return {};
}

Result<std::string> find_kept_failure(const Options& options) {
  std::vector<std::string> others;
  for (const fs::path& run : runs_in(options.keep_failed)) {
    const fs::path wanted = run / file_name_of(options.debug);
    std::error_code error;
    if (fs::is_directory(wanted, error)) {
      return fs::absolute(wanted, error).string();
    }
    for (fs::directory_iterator at(run, error), end; !error && at != end; at.increment(error)) {
      const std::string name = at->path().filename();
      if (name != "fixture-point" && others.size() < kMostNamed) {
        others.push_back(name);
      }
    }
  }
  return fail(ErrorCode::kNotFound,
              fmt::format("--debug {}: no machine of it is kept in {}; {}", options.debug,
                          options.keep_failed,
                          others.empty() ? "there is none of any test"
                                         : fmt::format("there are {}", fmt::join(others, ", "))));
}

std::vector<std::string> debug_command(const Program& program, const std::string& kept,
                                       const std::string& spore) {
  // A process that was stopped where it failed stops itself when its machine has been made; a
  // server that came before it would find it on its way there. One that hung is found by its file.
  static constexpr const char* kInMachine = R"sh(pid=
if read pid < /tmp/spore-failed.pid || [ "$pid" ]; then
  tries=0
  until grep -q 'State:.T' /proc/$pid/status || [ $((tries += 1)) = 100 ]; do sleep 0.1; done
else
  for directory in /proc/[0-9]*; do
    [ "$(readlink $directory/exe)" = "$0" ] && pid=${directory#/proc/} && break
  done
fi 2> /dev/null
tell() { echo "spore-test: --debug: $1" >&2; exit 1; }
[ "$pid" ] || tell "the program had ended when its machine was kept; link it with spore_gtest_main"
command -v gdbserver > /dev/null || tell "gdbserver was not here when the machine was kept"
exec gdbserver --once --attach stdio $pid
)sh";
  const std::string bridge = fmt::format("{} run --from {} -- sh -c {} {}", quoted(spore),
                                         quoted(kept), quoted(kInMachine), quoted(program.path));
  return {"gdb",
          "-q",
          "-ex",
          "set sysroot /",  // its files are this host's
          "-ex",
          "set remotetimeout 600",  // what is sent twice is answered twice; the machine comes first
          "-ex",
          "target remote | " + bridge,
          program.path};
}

}  // namespace spore::gtest_runner
