// FixtureServer: the Unix socket on which processes of the guest reach their fixture point and ask
// for the generation. Everything read here is the workload's: at most one short line per connection
// is looked at.
//
//   client: "fixture-point\n"   answer, when the machine was forked or the host released it: one
//                               line of JSON, as in generation.json
//   client: "generation\n"      the same answer, at once
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "agent/poller.h"

namespace spore::agent {

class FixtureServer {
 public:
  // Finds the process id for a client's pid; called with the pid of a living process.
  using OwnerOf = std::function<std::optional<std::uint64_t>(pid_t pid)>;
  using OnWaiting = std::function<void(std::uint64_t process_id)>;
  using CurrentJson = std::function<std::string()>;

  FixtureServer(Poller& poller, OwnerOf owner_of, OnWaiting on_waiting, CurrentJson current);
  ~FixtureServer();
  FixtureServer(const FixtureServer&) = delete;
  FixtureServer& operator=(const FixtureServer&) = delete;

  Result<void> listen(const std::string& path);
  // Lets the clients of one process, or all that wait, go on with this answer.
  void release(std::uint64_t process_id, std::string_view json);
  void release_all(std::string_view json);

 private:
  struct Client {
    base::UniqueFd fd;
    pid_t pid = 0;
    std::string line;
    std::optional<std::uint64_t> waiting_for;  // the process id, while it waits
  };

  void accept_one();
  void on_readable(int fd);
  void handle_line(Client& client);
  static void answer(Client& client, std::string_view json);
  void drop(int fd);

  Poller& poller_;
  OwnerOf owner_of_;
  OnWaiting on_waiting_;
  CurrentJson current_;
  std::string path_;
  base::UniqueFd listener_;
  std::map<int, Client> clients_;
};

}  // namespace spore::agent
