#include "cli/machines/monitor.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <thread>
#include <utility>

#include "cli/machines/local_socket.h"

namespace spore::cli::machines {
namespace {

using Clock = std::chrono::steady_clock;

// How often it is looked whether the machine ended.
constexpr int kTickMs = 250;
constexpr std::size_t kMaxClients = 64;
constexpr std::chrono::seconds kRequestTimeout{10};
constexpr std::chrono::milliseconds kFinishTimeout{2000};
constexpr std::chrono::milliseconds kFinishPoll{20};

}  // namespace

Monitor::Monitor(std::unique_ptr<Machine> machine, base::UniqueFd listener)
    : listener_(std::move(listener)) {
  machines_.push_back(std::move(machine));
}

Monitor::~Monitor() {
  machine().close();  // their processes are lost, and their threads end
  clients_.clear();
}

Result<Monitor::Outcome> Monitor::run(int stop) {
  for (;;) {
    std::array<pollfd, 2> polled = {{{listener_.get(), POLLIN, 0}, {stop, POLLIN, 0}}};
    if (poll(polled.data(), polled.size(), kTickMs) < 0 && errno != EINTR) {
      return fail(Error::from_errno(errno, "waiting for the machine's clients"));
    }
    if (polled[1].revents != 0) {
      return Outcome::kStopped;
    }
    if (!capturing_ && machine().ended()) {
      return Outcome::kMachineEnded;
    }
    tend_clients();
    if (polled[0].revents != 0) {
      accept_one();
    }
  }
}

void Monitor::accept_one() {
  base::UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket.valid() || !check_same_user(socket.get())) {
    return;
  }
  if (clients_.size() >= kMaxClients) {
    if (const auto stream = FrameStream::create(std::move(socket))) {
      static_cast<void>((*stream)->send_error(
          Error(ErrorCode::kResourceExhausted,
                "talking to the machine's monitor: it has 64 clients already; end some of them")));
    }
    return;
  }
  if (auto connection =
          Connection::create(machine(), std::move(socket),
                             [this](const CaptureMessage& message) { return capture(message); })) {
    clients_.push_back({std::move(*connection), Clock::now() + kRequestTimeout});
  }
}

Machine& Monitor::machine() {
  const std::lock_guard lock(mutex_);
  return *machines_.back();
}

std::string Monitor::suspended_to() {
  const std::lock_guard lock(mutex_);
  return suspended_to_;
}

Result<SavedSpore> Monitor::capture(const CaptureMessage& message) {
  const std::lock_guard one_at_a_time(capture_mutex_);
  Machine& captured = machine();
  const ForkParameters parameters = captured.generation().parameters;
  const bool goes_on = message.after == AfterCapture::kGoesOn;
  // A machine that is captured to end has ended then: that is not the end of this yet.
  capturing_ = !goes_on;
  auto spore = captured.capture({.keep_running = goes_on});
  auto saved = spore ? (*spore)->save(message.path, {.flat = message.flat}) : fail(spore.error());
  if (saved && message.after == AfterCapture::kIsSuspended) {
    const std::lock_guard lock(mutex_);
    suspended_to_ = saved->path;
  }
  if (!saved && spore && !goes_on) {
    rescue(**spore, parameters);
  }
  capturing_ = false;
  return saved;
}

void Monitor::rescue(Spore& spore, const ForkParameters& parameters) {
  if (auto forked = spore.fork({parameters})) {
    const std::lock_guard lock(mutex_);
    machines_.push_back(std::move(forked->front()));
  }
}

void Monitor::tend_clients() {
  for (const Client& client : clients_) {
    client.connection->expect_request(client.deadline);
  }
  clients_.remove_if([](const Client& client) { return client.connection->over(); });
}

void Monitor::finish_clients() {
  const auto deadline = Clock::now() + kFinishTimeout;
  while (!clients_.empty() && Clock::now() < deadline) {
    tend_clients();
    std::this_thread::sleep_for(kFinishPoll);
  }
}

}  // namespace spore::cli::machines
