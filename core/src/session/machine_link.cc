#include "session/machine_link.h"

#include <utility>

#include "session/ended.h"

namespace spore::session {

AgentClient::Send MachineLink::sender(const std::shared_ptr<Engine>& engine) {
  // Neither the link nor the engine: the Host holds the link, and the link holds the client.
  auto machine = std::make_shared<std::atomic<MachineId>>(0);
  machine_ = machine;
  return [weak = std::weak_ptr<Engine>(engine), machine](std::string_view bytes) -> Result<void> {
    const auto strong = weak.lock();
    if (strong == nullptr) {
      return fail(ErrorCode::kMachineEnded, "the session is over");
    }
    return strong->host().send_to_agent(*machine, bytes);
  };
}

std::shared_ptr<MachineLink> MachineLink::for_boot(const std::shared_ptr<Engine>& engine) {
  auto link = std::shared_ptr<MachineLink>(new MachineLink(engine->condemned()));
  link->client_ = AgentClient::for_boot(link->sender(engine));
  return link;
}

std::shared_ptr<MachineLink> MachineLink::for_child(const std::shared_ptr<Engine>& engine,
                                                    const AgentSnapshot& snapshot) {
  auto link = std::shared_ptr<MachineLink>(new MachineLink(engine->condemned()));
  link->client_ = AgentClient::clone_for_child(link->sender(engine), snapshot);
  return link;
}

void MachineLink::set_machine(MachineId machine) {
  const std::lock_guard lock(mutex_);
  *machine_ = machine;
  if (condemned_early_) {
    condemned_->add(machine);
  }
}

void MachineLink::condemn() {
  const std::lock_guard lock(mutex_);
  if (*machine_ == 0) {
    condemned_early_ = true;
  } else {
    condemned_->add(*machine_);
  }
}

void MachineLink::expect_capture() {
  const std::lock_guard lock(mutex_);
  expecting_ = true;
  captured_.reset();
}

std::optional<CaptureTimings> MachineLink::await_capture(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [this] { return ended_ || captured_; });
  expecting_ = false;
  return ended_ ? std::nullopt : captured_;
}

Clock::time_point MachineLink::captured_at() const {
  const std::lock_guard lock(mutex_);
  return captured_at_;
}

void MachineLink::will_close_as(MachineEnd end) {
  const std::lock_guard lock(mutex_);
  closing_as_ = std::move(end);
}

void MachineLink::on_agent_bytes(std::string_view bytes) {
  if (!client_->feed(bytes)) {
    condemn();
  }
}

void MachineLink::on_captured(const CaptureTimings& timings) {
  {
    const std::lock_guard lock(mutex_);
    if (expecting_ && !captured_) {
      captured_ = timings;
      captured_at_ = Clock::now();
      changed_.notify_all();
      return;
    }
  }
  client_->end(engine_failed_end("the guest rang the capture doorbell unasked"));
  condemn();
}

void MachineLink::on_ended(const MachineEnd& end) {
  MachineEnd told = end;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    if (closing_as_ && end.reason == EndReason::kClosed) {
      told = *closing_as_;
    }
    changed_.notify_all();
  }
  client_->end(told);
}

}  // namespace spore::session
