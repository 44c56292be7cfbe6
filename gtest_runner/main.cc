// spore-test: the command. Builds the image, opens the session, and leaves the rest to Runner.
// Exit status: GoogleTest's 0 and 1; 125 for failures of its own; 130 after Ctrl-C.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <thread>

#include "gtest_runner/coverage/coverage.h"
#include "gtest_runner/failures/debug.h"
#include "gtest_runner/reports/own_report.h"
#include "gtest_runner/run/runner.h"
#include "options.h"
#include "program.h"
#include "spore/image.h"
#include "spore/kept.h"
#include "spore/session.h"

namespace {

using namespace spore::gtest_runner;  // NOLINT: the program's own namespace

constexpr int kSignalBase = 128;

// Standard output and error, with a progress line on a terminal that goes away before real text.
class Terminal : public TextSink {
 public:
  void out(std::string_view text) override { write(stdout, text); }
  void err(std::string_view text) override { write(stderr, text); }
  void progress(std::string_view text) {
    const std::lock_guard lock(mutex_);
    if (shows_progress_) {
      fmt::print(stderr, "\r\033[Kspore-test: {} ...", text);
      std::fflush(stderr);
      line_open_ = true;
    }
  }
  void end_progress() {
    const std::lock_guard lock(mutex_);
    erase_line();
  }
  [[nodiscard]] bool stderr_is_terminal() const { return shows_progress_; }

 private:
  void write(std::FILE* stream, std::string_view text) {
    if (text.empty()) {
      return;
    }
    const std::lock_guard lock(mutex_);
    erase_line();
    std::fwrite(text.data(), 1, text.size(), stream);
    std::fflush(stream);
  }
  void erase_line() {
    if (line_open_) {
      std::fputs("\r\033[K", stderr);
      std::fflush(stderr);
      line_open_ = false;
    }
  }

  std::mutex mutex_;
  const bool shows_progress_ = isatty(STDERR_FILENO) == 1;
  bool line_open_ = false;
};

// SIGINT, SIGTERM and SIGHUP end everything at once: the kernel takes back every machine, and a
// remote engine closes those of a connection that breaks.
void end_on_signals(Terminal& terminal) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals, &terminal] {
    int number = 0;
    sigwait(&signals, &number);
    terminal.end_progress();
    terminal.err("spore-test: interrupted\n");
    remove_coverage_directory();
    _exit(kSignalBase + number);
  }).detach();
}

// A file of this installation that lies beside bin/.
std::string stack_library() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() /
         "libexec/spore/libspore_stack.so";
}

spore::Result<std::string> build_image(const Options& options, const Program& program,
                                       Terminal& terminal) {
  spore::ImageSpec spec;
  spec.base_system = true;
  spec.programs = {program.path};
  if (const std::string server = find_debug_server();
      !options.keep_failed.empty() && !server.empty()) {
    spec.programs.push_back(server);
  }
  spec.mounts.push_back({.source = stack_library(), .target = options.stack_library});
  for (const spore::ImageMount& mount : options.mounts) {
    if (mount.source == mount.target) {
      spec.paths.push_back(mount.source);
    } else {
      spec.mounts.push_back(mount);
    }
  }
  terminal.progress("building the root image");
  SPORE_ASSIGN(const spore::Image image,
               spore::build_image(spec, [&](std::string_view text) { terminal.progress(text); }));
  return image.path;
}

// All that makes a machine of this run what it is; nothing when none may be kept.
spore::Result<spore::KeptParts> whole_key(const Options& options, const Program& program,
                                          const std::string& image, std::string_view engine) {
  SPORE_ASSIGN(const std::uint64_t limit, spore::kept_limit());
  auto parts =
      start_key(options, program, fmt::format("{:%F}", fmt::localtime(std::time(nullptr))));
  if (limit == 0 || parts.empty()) {
    return spore::KeptParts();
  }
  // The image has it; by its own name a person is told that it changed.
  SPORE_ASSIGN(parts["the test binary"], spore::known_digest(program.path));
  SPORE_ASSIGN(parts["the root image"], spore::known_digest(image));
  SPORE_ASSIGN(auto engine_parts, spore::engine_parts(std::string(engine)));
  parts.merge(engine_parts);
  if (!options.kernel.empty()) {
    SPORE_ASSIGN(parts["guest kernel"], spore::known_digest(options.kernel));
  }
  return parts;
}

// Becomes gdb.
spore::Result<int> debug(const Options& options, const Program& program) {
  SPORE_ASSIGN(const std::string kept, find_kept_failure(options));
  const auto spore = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "spore";
  std::vector<std::string> words = debug_command(program, kept, spore);
  std::vector<char*> argv;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execvp(argv[0], argv.data());
  return spore::fail(spore::Error::from_errno(errno, "starting gdb (Debian: gdb, gdbserver)"));
}

spore::Result<int> run(const Options& options, Terminal& terminal) {
  SPORE_ASSIGN(const Program program, inspect_program(options.binary));
  if (!options.debug.empty()) {
    return debug(options, program);
  }
  SPORE_TRY(check_abilities(program, options));
  SPORE_TRY(check_new_file("--html", options.html));
  SPORE_TRY(check_new_file("--json", options.json));
  const auto began = std::chrono::steady_clock::now();
  SPORE_ASSIGN(const std::string image, build_image(options, program, terminal));
  const auto progress = [&terminal](std::string_view text) { terminal.progress(text); };
  spore::SessionOptions session_options;
  session_options.engine = options.engine;
  session_options.progress = progress;
  SPORE_ASSIGN(const auto session, spore::open_session(session_options));
  Runner runner(*session, options, program, {image}, terminal, isatty(STDOUT_FILENO) == 1,
                progress);
  runner.began(began);
  if (!options.gtest.help && !options.gtest.list_tests) {
    SPORE_ASSIGN(auto key, whole_key(options, program, image, session->engine()));
    runner.start_warm(std::move(key));
  }
  auto status = runner.run();
  terminal.end_progress();
  if (status && (runner.costs().children > 0 || options.prepare) &&
      (options.timings || terminal.stderr_is_terminal())) {
    terminal.err("spore-test: " + closing_line(runner.costs()) + "\n");
    if (options.timings) {
      for (const std::string& line : phase_lines(runner.costs())) {
        terminal.err("spore-test: " + line + "\n");
      }
    }
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  static Terminal terminal;  // outlives main for the thread that waits for signals
  end_on_signals(terminal);
  const auto getenv = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
  auto status = [&]() -> spore::Result<int> {
    SPORE_ASSIGN(const ParsedOptions parsed, parse_options(argc, argv, getenv));
    if (!parsed.options) {
      terminal.out(parsed.text);
      return 0;
    }
    return run(*parsed.options, terminal);
  }();
  if (!status) {
    terminal.end_progress();
    terminal.err(fmt::format("spore-test: {}\n", status.error().message()));
    return kOwnFailure;
  }
  return *status;
}
