// LocalHost: machines in this process, on any hypervisor.
//
// Threads: any, as Host says. Machines are looked up under one lock, and worked on outside it.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "session/host.h"
#include "vm/shell_pool.h"
#include "vm/vm.h"

namespace spore::session {

struct LocalHostOptions {
  std::shared_ptr<vm::Hypervisor> hypervisor;
  std::string agent_path;  // the static program that becomes PID 1 of a guest
  // Look after machines (vm::Vm::look_after) every few seconds: for an emulated hypervisor, which
  // loses a guest now and then.
  bool looks_after_machines = false;
};

class LocalHost final : public Host {
 public:
  explicit LocalHost(LocalHostOptions options);
  ~LocalHost() override;

  Result<Booted> boot(const MachineConfig& config,
                      std::shared_ptr<MachineObserver> observer) override;
  Result<void> send_to_agent(MachineId machine, std::string_view bytes) override;
  Result<SporeId> take_spore(MachineId machine, bool keep_running) override;
  Result<std::vector<ForkedMachine>> fork(SporeId spore, std::vector<ForkOrder> orders) override;
  Result<MachineStats> stats(MachineId machine) override;
  std::string console_tail(MachineId machine) override;
  void close(MachineId machine) override;
  void release(SporeId spore) override;

 private:
  using MachinePtr = std::shared_ptr<vm::Vm>;
  using CapturePtr = std::shared_ptr<const vm::Capture>;

  MachineId add(MachinePtr machine);
  [[nodiscard]] MachinePtr find(MachineId id) const;
  void look_after_machines();
  Result<ForkedMachine> fork_one(const CapturePtr& capture, ForkOrder order);

  const LocalHostOptions options_;
  vm::ShellPool pool_;
  mutable std::mutex mutex_;
  std::uint64_t last_id_ = 0;
  std::map<MachineId, MachinePtr> machines_;
  std::map<SporeId, CapturePtr> spores_;
  bool over_ = false;
  std::condition_variable ends_;
  std::thread keeper_;
};

}  // namespace spore::session
