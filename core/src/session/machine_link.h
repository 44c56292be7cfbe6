// MachineLink: what the engine's threads call for one machine, and what its users wait on.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

#include "session/agent_client.h"
#include "session/engine.h"

namespace spore::session {

class MachineLink final : public MachineObserver {
 public:
  // Both give a link whose client sends to the machine once set_machine() has named it.
  static std::shared_ptr<MachineLink> for_boot(const std::shared_ptr<Engine>& engine);
  static std::shared_ptr<MachineLink> for_child(const std::shared_ptr<Engine>& engine,
                                                const AgentSnapshot& snapshot);

  void set_machine(MachineId machine);
  [[nodiscard]] MachineId machine() const noexcept { return *machine_; }
  [[nodiscard]] AgentClient& client() const noexcept { return *client_; }

  // Around the doorbell: expect_capture() before it is asked for, await_capture() after.
  void expect_capture();
  std::optional<CaptureTimings> await_capture(Clock::time_point deadline);
  [[nodiscard]] Clock::time_point captured_at() const;
  // The machine is about to be closed for a reason that its end is to tell.
  void will_close_as(MachineEnd end);

  void on_agent_bytes(std::string_view bytes) override;
  void on_captured(const CaptureTimings& timings) override;
  void on_ended(const MachineEnd& end) override;

 private:
  explicit MachineLink(std::shared_ptr<Condemned> condemned) : condemned_(std::move(condemned)) {}
  [[nodiscard]] AgentClient::Send sender(const std::shared_ptr<Engine>& engine);  // makes machine_
  void condemn();

  const std::shared_ptr<Condemned> condemned_;
  std::shared_ptr<AgentClient> client_;
  std::shared_ptr<std::atomic<MachineId>> machine_;  // 0 until it is named
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool expecting_ = false;
  bool ended_ = false;
  bool condemned_early_ = false;  // before it had a name
  std::optional<MachineEnd> closing_as_;
  std::optional<CaptureTimings> captured_;
  Clock::time_point captured_at_;
};

}  // namespace spore::session
