// Monitor: the owner of one named machine. It serves the clients at its socket until the machine
// ends or its process is told to.
//
// Hostile bytes: those of clients, who must run as the same user.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "cli/machines/connection.h"
#include "spore/session.h"

namespace spore::cli::machines {

class Monitor {
 public:
  // `listener` is a socket that listens, and does not block.
  Monitor(std::unique_ptr<Machine> machine, base::UniqueFd listener);
  // Closes the machine.
  ~Monitor();
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  enum class Outcome { kStopped, kMachineEnded };
  // Until `stop` can be read, or the machine has ended.
  Result<Outcome> run(int stop);

  [[nodiscard]] Machine& machine();
  // Where the machine was saved, when a client suspended it; else empty.
  [[nodiscard]] std::string suspended_to();
  // After the machine's end: lets those who follow it hear of that.
  void finish_clients();

 private:
  struct Client {
    std::unique_ptr<Connection> connection;
    std::chrono::steady_clock::time_point deadline;  // for its request
  };

  Result<SavedSpore> capture(const CaptureMessage& message);
  // The machine was captured, to end, and its spore could not be saved: it goes on as a fork.
  void rescue(Spore& spore, const ForkParameters& parameters);
  void accept_one();
  void tend_clients();

  const base::UniqueFd listener_;
  std::mutex capture_mutex_;  // one at a time
  std::mutex mutex_;
  // Under mutex_. The last one is the machine; those before it have ended, and clients may hold
  // them.
  std::vector<std::unique_ptr<Machine>> machines_;
  std::string suspended_to_;  // under mutex_
  std::atomic<bool> capturing_ = false;
  std::list<Client> clients_;  // their threads end first
};

}  // namespace spore::cli::machines
