// Monitor: the owner of one named machine. It serves the clients at its socket until the machine
// ends or its process is told to.
//
// Hostile bytes: those of clients, who must run as the same user.
#pragma once

#include <list>
#include <memory>

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

  [[nodiscard]] Machine& machine() noexcept { return *machine_; }
  // After the machine's end: lets those who follow it hear of that.
  void finish_clients();

 private:
  struct Client {
    std::unique_ptr<Connection> connection;
    std::chrono::steady_clock::time_point deadline;  // for its request
  };

  void accept_one();
  void tend_clients();

  const std::unique_ptr<Machine> machine_;
  const base::UniqueFd listener_;
  std::list<Client> clients_;
};

}  // namespace spore::cli::machines
