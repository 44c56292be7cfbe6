// Engine: one Host and the machines that a session has on it. Shared by the session, its machines
// and its spores, so that the Host outlives them all.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "session/host.h"

namespace spore::session {

// Machines to be closed by a thread of its own: an observer, which must not call the Host, leaves
// those here whose guest broke its protocol.
class Condemned {
 public:
  void add(MachineId machine);
  void stop();
  // The next one, waiting for it; nothing once stopped.
  std::optional<MachineId> next();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<MachineId> machines_;
  bool stopped_ = false;
};

class Engine {
 public:
  Engine(std::unique_ptr<Host> host, std::string name);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  [[nodiscard]] Host& host() noexcept { return *host_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const std::shared_ptr<Condemned>& condemned() const noexcept { return condemned_; }

  // Takes charge of a new machine. False: the session is over, and the machine is closed.
  bool adopt(MachineId machine);
  // Closes it on the Host, once.
  void close_machine(MachineId machine);
  // The Host is about to close it in the course of another call. False: it is closed already.
  bool let_go(MachineId machine);
  // The session is over: closes every machine, and those to come.
  void close_all();

 private:
  const std::unique_ptr<Host> host_;
  const std::string name_;
  const std::shared_ptr<Condemned> condemned_ = std::make_shared<Condemned>();
  std::mutex mutex_;
  std::set<MachineId> open_;
  bool over_ = false;
  std::thread executioner_;
};

}  // namespace spore::session
