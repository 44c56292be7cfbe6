// LocalHost: machines in this process, on any hypervisor.
//
// Threads: any, as Host says. Machines are looked up under one lock, and worked on outside it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "session/host.h"
#include "session/spore_shelf.h"
#include "vm/shell_pool.h"
#include "vm/vm.h"

namespace spore::session {

struct LocalHostOptions {
  std::shared_ptr<vm::Hypervisor> hypervisor;
  std::string agent_path;  // the static program that becomes PID 1 of a guest
};

class LocalHost final : public Host {
 public:
  explicit LocalHost(LocalHostOptions options);

  Result<Booted> boot(const MachineConfig& config,
                      std::shared_ptr<MachineObserver> observer) override;
  Result<void> send_to_agent(MachineId machine, std::string_view bytes) override;
  Result<SporeId> take_spore(MachineId machine, bool keep_running) override;
  Result<std::vector<ForkedMachine>> fork(SporeId spore, std::vector<ForkOrder> orders) override;
  Result<SavedSpore> save(SporeId spore, const SaveOrder& order) override;
  Result<LoadedHere> load(const std::string& path, const LoadOptions& options) override;
  Result<MachineStats> stats(MachineId machine) override;
  std::string console_tail(MachineId machine) override;
  void close(MachineId machine) override;
  void release(SporeId spore) override;

 private:
  using MachinePtr = std::shared_ptr<vm::Vm>;
  using CapturePtr = std::shared_ptr<const vm::Capture>;
  struct Running {
    MachinePtr machine;
    GuestKernel kernel;
  };

  MachineId add(Running machine);
  SporeId add(CapturedMachine spore);
  [[nodiscard]] MachinePtr find(MachineId id) const;
  [[nodiscard]] Result<CapturedMachine> find_spore(SporeId id) const;
  Result<ForkedMachine> fork_one(const CapturedMachine& spore, ForkOrder order);

  const LocalHostOptions options_;
  vm::ShellPool pool_;
  SporeShelf shelf_;
  mutable std::mutex mutex_;
  std::uint64_t last_id_ = 0;                  // under mutex_
  std::map<MachineId, Running> machines_;      // under mutex_
  std::map<SporeId, CapturedMachine> spores_;  // under mutex_
};

}  // namespace spore::session
