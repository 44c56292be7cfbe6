#include "nest_exec.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "base/unique_fd.h"
#include "cli/command.h"
#include "cli/process_io.h"
#include "cli/run_arguments.h"
#include "nest/nest_host.h"
#include "session/ended.h"

namespace spore::cli {
namespace {

// Where the signal handler leaves the numbers of signals; open for the life of a SignalPump.
std::atomic<int> signal_pipe = -1;

// Passes signals on to the process; a second SIGINT ends this program at once.
class SignalPump {
 public:
  static Result<std::unique_ptr<SignalPump>> create(Process& process) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
      return fail(Error::from_errno(errno, "making a pipe for signals"));
    }
    return std::unique_ptr<SignalPump>(
        new SignalPump(process, base::UniqueFd(ends[0]), base::UniqueFd(ends[1])));
  }
  SignalPump(const SignalPump&) = delete;
  SignalPump& operator=(const SignalPump&) = delete;
  ~SignalPump() {
    end_on_signals();
    leave(kStop);
    signal_pipe = -1;
    thread_.join();
  }

 private:
  static constexpr int kStop = 0;

  SignalPump(Process& process, base::UniqueFd reader, base::UniqueFd writer)
      : process_(process), reader_(std::move(reader)), writer_(std::move(writer)) {
    signal_pipe = writer_.get();
    thread_ = std::thread([this] { run(); });
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
      std::signal(number, leave);
    }
  }

  static void leave(int number) {
    const int saved = errno;
    static_cast<void>(write(signal_pipe, &number, sizeof(number)));
    errno = saved;
  }

  void run() {
    for (bool interrupted = false;;) {
      int number = kStop;
      const ssize_t n = read(reader_.get(), &number, sizeof(number));
      if (n < 0 && errno == EINTR) {
        continue;
      }
      if (n != sizeof(number) || number == kStop) {
        return;
      }
      if (number == SIGINT && std::exchange(interrupted, true)) {
        _exit(kInterrupted);
      }
      static_cast<void>(process_.signal(number));
    }
  }

  Process& process_;
  base::UniqueFd reader_;
  base::UniqueFd writer_;
  std::thread thread_;
};

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
      return report(session::ended_error("running a command in the nest", lost->end));
    }
  }
  return kOwnError;
}

Result<int> exec_in_nest(const NestExecOptions& options) {
  ExecRequest request;
  request.argv = options.argv;
  SPORE_ASSIGN(request.env, parse_environment(options.env));
  request.workdir =
      options.workdir.empty() ? std::filesystem::current_path().string() : options.workdir;
  SPORE_ASSIGN(const nest::NestAgent agent, nest::open_agent(show_progress));
  SPORE_ASSIGN(const auto process, agent.connection->client().exec(request));
  SPORE_ASSIGN(const auto signal_pump, SignalPump::create(*process));
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
