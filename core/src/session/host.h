// Host: where machines run. LocalHost (session/local_host.h) makes them in this process; RemoteHost
// (session/remote_host.h) asks a `spore serve --stdio` for them over a stream. A Host moves an
// agent's bytes but does not look into them: the agent protocol is spoken by
// session/agent_client.h, wherever the machine is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "spore/machine.h"
#include "spore/result.h"
#include "spore/session.h"

namespace spore::session {

using MachineId = std::uint64_t;
using SporeId = std::uint64_t;

// Who hears from a machine. Called from the engine's threads with its locks held, one call at a
// time per machine: an implementation takes what it gets and returns; it must not call the Host.
class MachineObserver {
 public:
  virtual ~MachineObserver() = default;
  virtual void on_agent_bytes(std::string_view bytes) = 0;
  // The guest rang the capture doorbell: the machine stands still and its state is saved.
  virtual void on_captured(const CaptureTimings& timings) = 0;
  // The last call for this machine.
  virtual void on_ended(const MachineEnd& end) = 0;
};

struct ForkedMachine {
  MachineId id = 0;
  Generation generation;
  ForkTimings timings;  // but for agent_us and user_us
};

struct ForkOrder {
  ForkParameters parameters;
  std::shared_ptr<MachineObserver> observer;
  // A machine to be closed first, so that the new one can have what it leaves; 0: none.
  MachineId replaces = 0;
};

struct SaveOrder {
  std::string path;
  std::string agent_section;
  SaveOptions options;
};

struct LoadedHere {
  SporeId id = 0;
  LoadedSpore spore;
  Generation generation;
  std::string agent_section;
};

class Host {
 public:
  virtual ~Host() = default;
  struct Booted {
    MachineId id = 0;
    Generation generation;
    std::uint64_t build_us = 0;
  };
  // Makes the machine and lets it run.
  virtual Result<Booted> boot(const MachineConfig& config,
                              std::shared_ptr<MachineObserver> observer) = 0;
  // Queues bytes for the guest's agent. Never waits for the guest.
  virtual Result<void> send_to_agent(MachineId machine, std::string_view bytes) = 0;
  // After on_captured(): makes the spore. The machine then goes on (keep_running) or is closed.
  virtual Result<SporeId> take_spore(MachineId machine, bool keep_running) = 0;
  virtual Result<std::vector<ForkedMachine>> fork(SporeId spore, std::vector<ForkOrder> orders) = 0;
  virtual Result<SavedSpore> save(SporeId spore, const SaveOrder& order) = 0;
  virtual Result<LoadedHere> load(const std::string& path, const LoadOptions& options) = 0;
  virtual Result<MachineStats> stats(MachineId machine) = 0;
  virtual std::string console_tail(MachineId machine) = 0;
  virtual void close(MachineId machine) = 0;  // on_ended(kClosed) if it had not ended
  virtual void release(SporeId spore) = 0;
};

// A Session on top of any Host (session/session.cc).
std::unique_ptr<Session> make_session(std::unique_ptr<Host> host, std::string engine);

}  // namespace spore::session
