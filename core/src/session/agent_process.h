// AgentProcess: a user's handle on one process of an AgentClient. It keeps the client's state
// alive, not the machine: once that has ended, calls answer so.
#pragma once

#include <memory>
#include <utility>

#include "session/agent_client.h"

namespace spore::session {

// The consumer's credit goes back to the guest in lumps of at least this, a quarter of the window.
inline constexpr std::uint32_t kCreditBatch = 64 * 1024;

class AgentProcess final : public Process {
 public:
  AgentProcess(std::shared_ptr<AgentClient> client, std::uint32_t id, AgentClient::StatePtr state)
      : client_(std::move(client)), id_(id), state_(std::move(state)) {}

  [[nodiscard]] std::uint32_t id() const noexcept override { return id_; }
  std::optional<ProcessEvent> next_event(std::optional<Milliseconds> timeout) override;
  Result<void> write_stdin(std::string_view data) override;
  Result<void> close_stdin() override;
  Result<void> write_channel(std::string_view data) override;
  Result<void> close_channel() override;
  Result<void> signal(int number) override;
  Result<void> resize(std::uint16_t rows, std::uint16_t columns) override;
  Result<void> release_fixture_point() override;

 private:
  const std::shared_ptr<AgentClient> client_;
  const std::uint32_t id_;
  const AgentClient::StatePtr state_;
};

}  // namespace spore::session
