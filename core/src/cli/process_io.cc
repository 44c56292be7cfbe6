#include "cli/process_io.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <utility>

#include "cli/command.h"

namespace spore::cli {
namespace {

constexpr int kSecondInterrupt = 2;

Followed follow_output(Process& process, const FollowOptions& options) {
  using SteadyClock = std::chrono::steady_clock;
  const auto start = SteadyClock::now();
  Followed followed;
  for (;;) {
    std::optional<Milliseconds> left;
    if (options.timeout) {
      const auto passed = std::chrono::duration_cast<Milliseconds>(SteadyClock::now() - start);
      left = std::max(*options.timeout - passed, Milliseconds{0});
    }
    auto event = process.next_event(left);
    if (!event || (left && left->count() == 0 && std::holds_alternative<Output>(*event))) {
      followed.outcome = Followed::Outcome::kTimedOut;
      return followed;
    }
    if (const auto* output = std::get_if<Output>(&*event)) {
      const int fd = output->stream == OutputStream::kStderr ? STDERR_FILENO : options.stdout_fd;
      if (options.watcher != nullptr) {
        options.watcher->on_output(output->data);
      }
      if (!write_all(fd, output->data)) {
        followed.outcome = Followed::Outcome::kOutputClosed;
        return followed;
      }
    } else if (std::holds_alternative<AtFixturePoint>(*event)) {
      // Where nobody captures it goes on as the only one. A failure is the process's end.
      if (options.watcher == nullptr || !options.watcher->on_fixture_point()) {
        static_cast<void>(process.release_fixture_point());
      }
    } else if (const auto* exited = std::get_if<Exited>(&*event)) {
      followed.exited = *exited;
      return followed;
    } else {
      followed.outcome = Followed::Outcome::kLost;
      followed.end = std::move(std::get<Lost>(*event).end);
      return followed;
    }
  }
}

}  // namespace

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(fd, bytes.data(), bytes.size());
    if (put >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(put));
    } else if (errno == EAGAIN) {
      pollfd writable{fd, POLLOUT, 0};
      poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

InputPump::InputPump(Process& process)
    : process_(process), stop_(eventfd(0, EFD_CLOEXEC)), thread_([this] { run(); }) {}

InputPump::~InputPump() {
  eventfd_write(stop_.get(), 1);
  thread_.join();
}

void InputPump::run() {
  std::array<char, 64 * 1024> buffer;
  for (;;) {
    std::array<pollfd, 2> polled = {{{STDIN_FILENO, POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
    if (poll(polled.data(), polled.size(), -1) < 0 && errno == EINTR) {
      continue;
    }
    if (polled[1].revents != 0) {
      return;
    }
    const ssize_t got = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
      continue;
    }
    if (got <= 0) {
      break;
    }
    if (!process_.write_stdin({buffer.data(), static_cast<std::size_t>(got)})) {
      return;  // it ended, which follow_process() hears as well
    }
  }
  static_cast<void>(process_.close_stdin());
}

std::optional<int> status_of(const Followed& followed, bool killed) {
  switch (followed.outcome) {
    case Followed::Outcome::kExited:
      return followed.exited.status();
    case Followed::Outcome::kOutputClosed:
      return 128 + SIGPIPE;
    case Followed::Outcome::kTimedOut:
      return kTimedOutStatus;
    case Followed::Outcome::kLost:
      break;
  }
  return killed ? std::optional(kInterrupted) : std::nullopt;
}

int status_for_start(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kNotFound:
      return kNotFoundStatus;
    case ErrorCode::kPermissionDenied:
    case ErrorCode::kInvalidArgument:
      return kNotExecutableStatus;
    default:
      return kOwnError;
  }
}

Followed follow_process(Process& process, bool input, const std::function<void()>& give_up) {
  std::optional<InputPump> pump;
  if (input) {
    pump.emplace(process);
  } else {
    static_cast<void>(process.close_stdin());
  }
  Followed followed = follow_output(process, {});
  if (followed.outcome != Followed::Outcome::kExited) {
    give_up();
  }
  return followed;
}

Followed follow_process(Machine& machine, Process& process, const FollowOptions& options) {
  const InputPump input(process);
  Followed followed = follow_output(process, options);
  if (followed.outcome != Followed::Outcome::kExited) {
    if (followed.outcome != Followed::Outcome::kLost) {
      followed.end.console_tail = machine.console_tail();
    }
    machine.close();  // wakes the input, which may wait for the guest
  }
  return followed;
}

// ---- signals
// ----------------------------------------------------------------------------------------

SignalForwarder::SignalForwarder() : stop_(eventfd(0, EFD_CLOEXEC)) {
  sigemptyset(&signals_);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH}) {
    sigaddset(&signals_, number);
  }
  pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  signal_fd_.reset(signalfd(-1, &signals_, SFD_CLOEXEC | SFD_NONBLOCK));
  thread_ = std::thread([this] { run(); });
}

SignalForwarder::~SignalForwarder() {
  eventfd_write(stop_.get(), 1);
  thread_.join();
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void SignalForwarder::attach(Machine& machine, Process& process) {
  attach(process, [&machine] { machine.close(); });
}

void SignalForwarder::attach(Process& process, std::function<void()> give_up) {
  const std::lock_guard lock(mutex_);
  process_ = &process;
  give_up_ = std::move(give_up);
}

void SignalForwarder::detach() {
  const std::lock_guard lock(mutex_);
  process_ = nullptr;
  give_up_ = nullptr;
}

void SignalForwarder::take(int number, std::function<void()> taken) {
  const std::lock_guard lock(mutex_);
  taken_[number] = std::move(taken);
}

void SignalForwarder::run() {
  for (;;) {
    std::array<pollfd, 2> polled = {{{signal_fd_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
    if (poll(polled.data(), polled.size(), -1) < 0) {
      continue;
    }
    if (polled[1].revents != 0) {
      return;
    }
    signalfd_siginfo info{};
    if (read(signal_fd_.get(), &info, sizeof(info)) == sizeof(info)) {
      forward(static_cast<int>(info.ssi_signo));
    }
  }
}

void SignalForwarder::forward(int number) {
  const std::lock_guard lock(mutex_);
  if (process_ == nullptr) {
    if (number != SIGWINCH) {
      _exit(128 + number);  // machines go with their process or their connection
    }
    return;
  }
  if (const auto taken = taken_.find(number); taken != taken_.end()) {
    taken->second();
    return;
  }
  if (number == SIGWINCH) {
    if (const auto size = terminal_size()) {
      static_cast<void>(process_->resize(size->rows, size->columns));
    }
    return;
  }
  if (number == SIGINT && ++interrupts_ == kSecondInterrupt) {
    killed_ = true;
    give_up_();
    return;
  }
  // A failure is the process's end, which its follower hears.
  static_cast<void>(process_->signal(number));
}

// ---- terminal
// ---------------------------------------------------------------------------------------

struct RawTerminal::Saved {
  termios settings{};
};

RawTerminal::RawTerminal(bool wanted) {
  auto saved = std::make_unique<Saved>();
  if (!wanted || tcgetattr(STDIN_FILENO, &saved->settings) != 0) {
    return;
  }
  termios raw = saved->settings;
  cfmakeraw(&raw);
  if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0) {
    saved_ = std::move(saved);
  }
}

RawTerminal::~RawTerminal() {
  if (saved_) {
    tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_->settings);
  }
}

std::optional<TerminalSize> terminal_size() {
  winsize size{};
  for (const int fd : {STDOUT_FILENO, STDIN_FILENO}) {
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
      return TerminalSize{size.ws_row, size.ws_col};
    }
  }
  return std::nullopt;
}

}  // namespace spore::cli
