#include "cli/nest_exec.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "base/unique_fd.h"
#include "cli/command.h"
#include "nest/agent_stream.h"
#include "nest/nest.h"
#include "session/ended.h"

namespace spore::cli {
namespace {

Result<std::map<std::string, std::string>> make_environment(const std::vector<std::string>& words) {
  std::map<std::string, std::string> environment;
  for (const std::string& word : words) {
    const auto equals = word.find('=');
    const std::string name = word.substr(0, equals);
    if (name.empty()) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("reading --env \"{}\": say NAME=VALUE, or NAME", word));
    }
    if (equals != std::string::npos) {
      environment[name] = word.substr(equals + 1);
    } else if (const char* value = std::getenv(name.c_str()); value != nullptr) {
      environment[name] = value;
    }
  }
  return environment;
}

// Copies this program's standard input to the process until either ends or it is told to stop.
class InputPump {
 public:
  explicit InputPump(Process& process)
      : process_(process), stop_(eventfd(0, EFD_CLOEXEC)), thread_([this] { run(); }) {}
  InputPump(const InputPump&) = delete;
  InputPump& operator=(const InputPump&) = delete;
  ~InputPump() {
    eventfd_write(stop_.get(), 1);
    thread_.join();
  }

 private:
  void run() {
    std::array<char, 64 * 1024> buffer;
    for (;;) {
      std::array<pollfd, 2> entries{{{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                                     {.fd = stop_.get(), .events = POLLIN, .revents = 0}}};
      if (poll(entries.data(), entries.size(), -1) < 0 && errno != EINTR) {
        break;
      }
      if (entries[1].revents != 0) {
        return;
      }
      if (entries[0].revents == 0) {
        continue;
      }
      const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) {
        continue;
      }
      if (n <= 0 || !process_.write_stdin({buffer.data(), static_cast<std::size_t>(n)})) {
        break;
      }
    }
    static_cast<void>(process_.close_stdin());
  }

  Process& process_;
  base::UniqueFd stop_;
  std::thread thread_;
};

// Passes signals on to the process; a second SIGINT ends this program at once. The signals are
// blocked in every thread that starts after block().
class SignalPump {
 public:
  static sigset_t block() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1}) {
      sigaddset(&set, number);
    }
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    return set;
  }

  SignalPump(Process& process, sigset_t set)
      : process_(process), set_(set), thread_([this] { run(); }) {}
  SignalPump(const SignalPump&) = delete;
  SignalPump& operator=(const SignalPump&) = delete;
  ~SignalPump() {
    stopping_ = true;
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }

 private:
  void run() {
    for (bool interrupted = false;;) {
      int number = 0;
      if (sigwait(&set_, &number) != 0) {
        continue;
      }
      if (stopping_) {
        return;
      }
      if (number == SIGINT && std::exchange(interrupted, true)) {
        _exit(kInterrupted);
      }
      static_cast<void>(process_.signal(number));
    }
  }

  Process& process_;
  sigset_t set_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno != EINTR) {
      return false;
    }
    bytes.remove_prefix(n > 0 ? static_cast<std::size_t>(n) : 0);
  }
  return true;
}

int follow(Process& process) {
  while (const auto event = process.next_event(std::nullopt)) {
    if (const auto* output = std::get_if<Output>(&*event)) {
      const int fd = output->stream == OutputStream::kStderr ? STDERR_FILENO : STDOUT_FILENO;
      if (!write_all(fd, output->data)) {
        return 128 + SIGPIPE;
      }
    } else if (const auto* exited = std::get_if<Exited>(&*event)) {
      return exited->status();
    } else if (const auto* lost = std::get_if<Lost>(&*event)) {
      return report(Error(ErrorCode::kMachineEnded, fmt::format("running a command in the nest: {}",
                                                                session::describe_end(lost->end))));
    }
  }
  return kOwnError;
}

Result<int> exec_in_nest(const NestExecOptions& options) {
  ExecRequest request;
  request.argv = options.argv;
  SPORE_ASSIGN(request.env, make_environment(options.env));
  request.workdir =
      options.workdir.empty() ? std::filesystem::current_path().string() : options.workdir;
  SPORE_ASSIGN(nest::Connection connection, nest::connect(show_progress));
  const sigset_t signals = SignalPump::block();
  SPORE_ASSIGN(const auto stream, nest::AgentStream::open(std::move(connection)));
  SPORE_ASSIGN(const auto process, stream->client().exec(request));
  const SignalPump signal_pump(*process, signals);
  const InputPump input_pump(*process);
  return follow(*process);
}

}  // namespace

int run_nest_exec(const NestExecOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  end_on_signals();
  const auto status = exec_in_nest(options);
  return status ? *status : report(status.error());
}

}  // namespace spore::cli
