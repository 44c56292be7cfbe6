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
    : machine_(std::move(machine)), listener_(std::move(listener)) {}

Monitor::~Monitor() {
  machine_->close();  // their processes are lost, and their threads end
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
    if (machine_->ended()) {
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
  if (auto connection = Connection::create(*machine_, std::move(socket))) {
    clients_.push_back({std::move(*connection), Clock::now() + kRequestTimeout});
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
