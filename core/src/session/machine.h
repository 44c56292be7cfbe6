// The Machine and Spore of a session, on any Host.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "session/machine_link.h"

namespace spore::session {

class SessionMachine final : public Machine {
 public:
  SessionMachine(std::shared_ptr<Engine> engine, std::shared_ptr<MachineLink> link,
                 Generation generation, BootTimings boot, ForkTimings fork);
  ~SessionMachine() override;

  Result<std::shared_ptr<Process>> exec(const ExecRequest& request) override;
  std::shared_ptr<Process> process(std::uint32_t id) override;
  Result<std::shared_ptr<Spore>> capture(const CaptureOptions& options) override;
  [[nodiscard]] const Generation& generation() const noexcept override { return generation_; }
  [[nodiscard]] std::optional<MachineEnd> ended() const override;
  Result<MachineStats> stats() override;
  [[nodiscard]] std::string console_tail() override;
  [[nodiscard]] const BootTimings& boot_timings() const noexcept override { return boot_; }
  [[nodiscard]] const ForkTimings& fork_timings() const noexcept override { return fork_; }
  void close() override;

  // The machine that a fork replaces is closed by the host: what ran in it is told that it was put
  // back. 0: it is closed already.
  MachineId give_up();
  [[nodiscard]] bool is_of(const Engine& engine) const noexcept { return engine_.get() == &engine; }

 private:
  Result<CaptureTimings> stand_still(const CaptureOptions& options);

  const std::shared_ptr<Engine> engine_;
  const std::shared_ptr<MachineLink> link_;
  const Generation generation_;
  const BootTimings boot_;
  const ForkTimings fork_;
  std::mutex capture_mutex_;  // one capture at a time
};

class SessionSpore final : public Spore {
 public:
  SessionSpore(std::shared_ptr<Engine> engine, SporeId id, AgentSnapshot snapshot,
               Generation generation, CaptureTimings timings,
               std::optional<LoadedSpore> loaded = std::nullopt);
  ~SessionSpore() override;

  using Spore::fork;
  Result<std::vector<std::unique_ptr<Machine>>> fork(
      const std::vector<ForkParameters>& children) override;
  Result<std::unique_ptr<Machine>> reset(Machine& used, const ForkParameters& child) override;
  [[nodiscard]] const Generation& generation() const noexcept override { return generation_; }
  [[nodiscard]] const CaptureTimings& timings() const noexcept override { return timings_; }
  Result<SavedSpore> save(const std::string& path, const SaveOptions& options) override;
  [[nodiscard]] const std::optional<LoadedSpore>& loaded() const noexcept override {
    return loaded_;
  }
  [[nodiscard]] std::vector<std::uint32_t> processes() const override;

 private:
  struct Child {
    std::shared_ptr<MachineLink> link;
    ForkedMachine machine;
    ForkTimings timings;
  };
  // The first of `children` replaces a machine, if one is given.
  Result<std::vector<std::unique_ptr<Machine>>> fork_all(
      const std::vector<ForkParameters>& children, MachineId replaces);
  // Makes the children, and waits for the agent of each.
  Result<std::vector<Child>> start_children(const std::vector<ForkParameters>& children,
                                            MachineId replaces);

  const std::shared_ptr<Engine> engine_;
  const SporeId id_;
  const AgentSnapshot snapshot_;
  const Generation generation_;
  const CaptureTimings timings_;
  const std::optional<LoadedSpore> loaded_;
};

}  // namespace spore::session
