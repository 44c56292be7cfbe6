#include "session/agent_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "session/agent_process.h"
#include "session/ended.h"

namespace spore::session {

using wire::AgentFrame;

Clock::time_point deadline_after(Milliseconds timeout) {
  constexpr Milliseconds kForEver = std::chrono::hours(24 * 365);
  return Clock::now() + std::clamp(timeout, Milliseconds{0}, kForEver);
}

std::shared_ptr<AgentClient> AgentClient::for_boot(Send send) {
  auto client = std::shared_ptr<AgentClient>(new AgentClient(std::move(send), Phase::kAwaitHello));
  client->gate_ = Gate::kShut;
  return client;
}

std::shared_ptr<AgentClient> AgentClient::for_running_agent(Send send) {
  return std::shared_ptr<AgentClient>(new AgentClient(std::move(send), Phase::kRunning));
}

std::shared_ptr<AgentClient> AgentClient::clone_for_child(Send send,
                                                          const AgentSnapshot& snapshot) {
  auto client =
      std::shared_ptr<AgentClient>(new AgentClient(std::move(send), Phase::kAwaitGeneration));
  client->gate_ = Gate::kShut;
  client->next_id_ = snapshot.next_id;
  for (const auto& [id, record] : snapshot.processes) {
    auto state = std::make_shared<ProcessState>();
    state->record = record;
    client->processes_.emplace(id, std::move(state));
  }
  return client;
}

void AgentClient::end(const MachineEnd& end) {
  const std::lock_guard lock(mutex_);
  end_locked(end);
}

void AgentClient::end_locked(const MachineEnd& end) {
  if (ended_) {
    return;
  }
  ended_ = end;
  for (const auto& [id, state] : processes_) {
    if (state->record.phase != ProcessRecord::Phase::kOver) {
      state->record.phase = ProcessRecord::Phase::kOver;
      state->record.events.emplace_back(Lost{end});
    }
    state->changed.notify_all();
  }
  changed_.notify_all();
}

std::optional<MachineEnd> AgentClient::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

Result<AgentReady> AgentClient::wait_ready(Clock::time_point deadline) {
  {
    std::unique_lock lock(mutex_);
    const bool over =
        changed_.wait_until(lock, deadline, [this] { return ended_ || phase_ == Phase::kRunning; });
    if (ended_) {
      return fail(ended_error("waiting for the guest's agent", *ended_));
    }
    if (!over) {
      return fail(ErrorCode::kTimedOut, "waiting for the guest's agent: it has not answered");
    }
  }
  open_gate();
  return ready_;
}

std::shared_ptr<Process> AgentClient::process(std::uint32_t id) {
  const std::lock_guard lock(mutex_);
  const auto found = processes_.find(id);
  if (found == processes_.end()) {
    return nullptr;
  }
  return std::make_shared<AgentProcess>(shared_from_this(), id, found->second);
}

Result<std::shared_ptr<Process>> AgentClient::exec(const ExecRequest& request) {
  if (request.argv.empty() || request.argv.front().empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "starting a process in the guest: no program is named");
  }
  const std::string attempted = fmt::format("starting {} in the guest", request.argv.front());
  std::string payload = wire::to_cbor(
      wire::ExecMessage{request.argv, request.env, request.workdir, request.user, request.terminal,
                        request.rows, request.columns, request.channel});
  if (payload.size() > wire::kMaxPayload) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: its arguments and environment are {} bytes, at most {} can be "
                            "sent: pass them in a file",
                            attempted, payload.size(), wire::kMaxPayload));
  }
  auto state = std::make_shared<ProcessState>();
  std::uint32_t id = 0;
  SPORE_TRY(send_when(
      attempted, [] { return true; },
      [&]() -> Result<std::string> {
        id = next_id_++;
        processes_.emplace(id, state);
        std::string bytes;
        wire::encode_frame(static_cast<std::uint16_t>(AgentFrame::kExec), id, payload, bytes);
        return bytes;
      }));
  SPORE_TRY(started(request, id, *state));
  return std::make_shared<AgentProcess>(shared_from_this(), id, std::move(state));
}

Result<void> AgentClient::started(const ExecRequest& request, std::uint32_t id,
                                  ProcessState& state) {
  const std::string attempted =
      fmt::format("starting {} in the guest (in {}, as {})", request.argv.front(), request.workdir,
                  request.user.empty() ? "root" : request.user);
  std::unique_lock lock(mutex_);
  state.changed.wait(lock, [&] { return state.record.phase != ProcessRecord::Phase::kStarting; });
  if (state.record.start_failure) {
    processes_.erase(id);
    const auto& failure = *state.record.start_failure;
    return fail(Error(Error::from_errno(failure.error_number, "").code(),
                      fmt::format("{}: {}", attempted, failure.message)));
  }
  if (ended_ && !state.record.started) {
    processes_.erase(id);
    return fail(ended_error(attempted, *ended_));
  }
  return {};
}

Result<void> AgentClient::shutdown() {
  return send_simple("asking the guest to power off", AgentFrame::kShutdown, 0, {});
}

// ---- sending
// ----------------------------------------------------------------------------------------

Result<void> AgentClient::send_when(std::string_view attempted, const std::function<bool()>& ready,
                                    const std::function<Result<std::string>()>& build) {
  const auto can_go = [&] { return ended_ || (gate_ == Gate::kOpen && ready()); };
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, can_go);
    lock.unlock();
    const std::lock_guard sending(send_mutex_);
    lock.lock();
    if (!can_go()) {
      continue;
    }
    if (ended_) {
      return fail(ended_error(attempted, *ended_));
    }
    SPORE_ASSIGN(const std::string bytes, build());
    lock.unlock();
    const auto sent = bytes.empty() ? Result<void>() : send_(bytes);
    if (!sent) {
      lock.lock();
      return ended_ ? fail(ended_error(attempted, *ended_))
                    : fail(sent.error().with_context(attempted));
    }
    return {};
  }
}

Result<void> AgentClient::send_simple(std::string_view attempted, AgentFrame type, std::uint32_t id,
                                      std::string payload) {
  return send_when(
      attempted, [] { return true; },
      [&]() -> Result<std::string> {
        std::string bytes;
        wire::encode_frame(static_cast<std::uint16_t>(type), id, payload, bytes);
        return bytes;
      });
}

Result<void> AgentClient::send_past_gate(AgentFrame type, Gate gate) {
  const std::lock_guard sending(send_mutex_);
  {
    const std::lock_guard lock(mutex_);
    if (ended_) {
      return fail(ended_error("capturing the machine", *ended_));
    }
    gate_ = gate;
  }
  std::string bytes;
  wire::encode_frame(static_cast<std::uint16_t>(type), 0, {}, bytes);
  return send_(bytes);
}

void AgentClient::open_gate() {
  {
    const std::lock_guard sending(send_mutex_);
    const std::lock_guard lock(mutex_);
    gate_ = Gate::kOpen;
  }
  changed_.notify_all();
  return_credit();
}

void AgentClient::return_credit() {
  const std::lock_guard sending(send_mutex_);
  std::string bytes;
  {
    const std::lock_guard lock(mutex_);
    if (ended_ || gate_ == Gate::kShut) {
      return;
    }
    for (const auto& [id, state] : processes_) {
      if (state->record.phase != ProcessRecord::Phase::kRunning) {
        continue;
      }
      for (std::size_t i = 0; i < state->record.output.size(); ++i) {
        auto& window = state->record.output[i];
        if (window.taken < kCreditBatch) {
          continue;
        }
        window.unacknowledged -= window.taken;
        const wire::WindowMessage message{static_cast<std::uint8_t>(i + 1),
                                          std::exchange(window.taken, 0)};
        wire::encode_frame(static_cast<std::uint16_t>(AgentFrame::kOutputWindow), id,
                           wire::to_cbor(message), bytes);
      }
    }
  }
  if (!bytes.empty()) {
    // A failure is the machine's end, which end() tells to everyone.
    static_cast<void>(send_(bytes));
  }
}

// ---- capture
// ----------------------------------------------------------------------------------------

Result<void> AgentClient::prepare_capture(Clock::time_point deadline) {
  {
    const std::lock_guard lock(mutex_);
    capture_ = Capture::kPreparing;
  }
  if (auto sent = send_past_gate(AgentFrame::kPrepareCapture, Gate::kCreditOnly); !sent) {
    open_gate();
    return sent;
  }
  std::unique_lock lock(mutex_);
  const bool answered = changed_.wait_until(
      lock, deadline, [this] { return ended_ || capture_ != Capture::kPreparing; });
  if (ended_) {
    return fail(ended_error("capturing the machine", *ended_));
  }
  if (answered && capture_ == Capture::kReady) {
    return {};
  }
  const Capture outcome = std::exchange(capture_, Capture::kNone);
  const std::string why = std::exchange(capture_failure_, {});
  lock.unlock();
  if (outcome == Capture::kFailed) {
    open_gate();
    return fail(ErrorCode::kInternal,
                "capturing the machine: the guest could not freeze its workload: " + why);
  }
  cancel_capture();
  return fail(ErrorCode::kTimedOut,
              "capturing the machine: the guest did not freeze its workload in time; the machine "
              "goes on: give the capture a longer timeout, or look for a process in an "
              "uninterruptible wait");
}

Result<void> AgentClient::ring_capture() {
  {
    const std::lock_guard lock(mutex_);
    capture_ = Capture::kRung;
  }
  return send_past_gate(AgentFrame::kCapture, Gate::kShut);
}

AgentSnapshot AgentClient::snapshot() const {
  const std::lock_guard lock(mutex_);
  AgentSnapshot snapshot;
  snapshot.next_id = next_id_;
  for (const auto& [id, state] : processes_) {
    snapshot.processes.emplace(id, state->record);
  }
  return snapshot;
}

void AgentClient::resume_after_capture(Clock::time_point deadline) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [this] { return ended_ || capture_ == Capture::kThawed; });
    capture_ = Capture::kNone;
  }
  open_gate();
}

void AgentClient::cancel_capture() {
  {
    const std::lock_guard lock(mutex_);
    capture_ = Capture::kNone;
  }
  // A failure is the machine's end, which end() tells to everyone.
  static_cast<void>(send_past_gate(AgentFrame::kCancelCapture, Gate::kCreditOnly));
  open_gate();
}

}  // namespace spore::session
