// A Host without virtual machines: each machine is a ScriptedAgent, run by one engine thread that
// calls the observers with the host's lock held, as real engines do. The hostname of a machine's
// configuration chooses how it boots: "silent" (never a hello), "panic", "oom" (panics for want of
// memory), "old-agent" (another protocol version), else well.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "session/host.h"
#include "support/scripted_agent.h"

namespace spore::testing {

class FakeHost final : public session::Host {
 public:
  FakeHost();
  ~FakeHost() override;

  Result<Booted> boot(const MachineConfig& config,
                      std::shared_ptr<session::MachineObserver> observer) override;
  Result<void> send_to_agent(session::MachineId machine, std::string_view bytes) override;
  Result<session::SporeId> take_spore(session::MachineId machine, bool keep_running) override;
  Result<std::vector<session::ForkedMachine>> fork(session::SporeId spore,
                                                   std::vector<session::ForkOrder> orders) override;
  // On a shelf of its own in place of a disk.
  Result<SavedSpore> save(session::SporeId spore, const session::SaveOrder& order) override;
  Result<session::LoadedHere> load(const std::string& path, const LoadOptions& options) override;
  Result<MachineStats> stats(session::MachineId machine) override;
  std::string console_tail(session::MachineId machine) override;
  void close(session::MachineId machine) override;
  void release(session::SporeId spore) override;

  // For tests: runs `edit` on the agent of every machine.
  void with_agents(const std::function<void(ScriptedAgent&)>& edit);
  // The next `count` machines reset themselves before their agent says a word.
  void lose_next(int count);
  [[nodiscard]] std::size_t machine_count();
  [[nodiscard]] std::size_t spore_count();

 private:
  struct Machine {
    ScriptedAgent agent;
    std::shared_ptr<session::MachineObserver> observer;
    Generation generation;
    std::string console;
    bool ended = false;
    bool captured = false;
  };
  struct Spore {
    ScriptedAgent agent;
    Generation generation;
  };
  struct Kept {
    Spore spore;
    session::SaveOrder order;
  };

  void run();
  void post(session::MachineId machine, std::function<void(Machine&)> task);
  void act(Machine& machine, ScriptedAgent::Act act);
  static void flush(Machine& machine);
  bool lose(session::MachineId id);
  static void end(Machine& machine, const MachineEnd& end);

  std::mutex mutex_;  // observers are called with it held
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  std::map<session::MachineId, std::shared_ptr<Machine>> machines_;
  std::map<session::SporeId, Spore> spores_;
  std::map<std::string, Kept> shelf_;  // by path
  std::uint64_t next_id_ = 100;
  int to_lose_ = 0;
  bool stopping_ = false;
  std::thread engine_;
};

}  // namespace spore::testing
