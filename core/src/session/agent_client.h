// AgentClient: the host's side of the agent protocol (wire/agent_protocol.h) for one guest.
//
// Hostile bytes: everything that feed() gets comes from the guest. Whatever breaks the protocol
// (unknown ids or frames, output beyond its window, credit nobody is owed) ends the client with a
// reason; queues are bounded by the windows.
//
// Threads: feed() and end() are called by an engine's thread, which may hold the engine's locks:
// they parse, queue and notify, and take mutex_ only. Everything else is for users' threads. The
// injected Send is called with send_mutex_ held and mutex_ free, because it may take the engine's
// locks; so the order of locks is send_mutex_, then either the engine's or mutex_.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "spore/session.h"
#include "wire/agent_protocol.h"
#include "wire/frame.h"

namespace spore::session {

using Clock = std::chrono::steady_clock;
// `timeout` from now, without overflow.
Clock::time_point deadline_after(Milliseconds timeout);

// What the host knows of one process: a plain value, copied into every child of a fork.
struct ProcessRecord {
  enum class Phase : std::uint8_t { kStarting, kRunning, kOver };
  struct OutputWindow {
    std::uint32_t unacknowledged = 0;  // received, credit not given back yet
    std::uint32_t taken = 0;           // the part of it that the consumer has taken
  };
  struct InputWindow {
    std::uint32_t credit = wire::kStreamWindow;
    bool closed = false;
  };
  Phase phase = Phase::kStarting;
  bool started = false;
  std::deque<ProcessEvent> events;     // the last event stays at the front once it is reached
  std::array<OutputWindow, 3> output;  // stdout, stderr, channel
  std::array<InputWindow, 2> input;    // stdin, channel
  std::uint32_t fixture_points = 0;    // undelivered ones
  std::optional<wire::StartFailedMessage> start_failure;
};

struct AgentReady {
  Clock::time_point at{};     // when its first frame came
  std::uint64_t thaw_us = 0;  // of a child (wire::GenerationMessage)
};

// The state of a guest's live processes at a capture.
struct AgentSnapshot {
  std::map<std::uint32_t, ProcessRecord> processes;
  std::uint32_t next_id = 1;
};

class AgentClient : public std::enable_shared_from_this<AgentClient> {
 public:
  // Sends whole frames to the guest, at once or into a queue.
  using Send = std::function<Result<void>(std::string_view)>;

  // For a guest that will say kHello.
  static std::shared_ptr<AgentClient> for_boot(Send send);
  // For a guest whose hello another program has had.
  static std::shared_ptr<AgentClient> for_running_agent(Send send);
  // For a child of the guest that `snapshot` was taken of: it will say kGeneration.
  static std::shared_ptr<AgentClient> clone_for_child(Send send, const AgentSnapshot& snapshot);

  // ---- engine's threads ----
  // kCorrupt once, when these bytes broke the protocol: the client has ended and the caller sees to
  // it that the machine does.
  Result<void> feed(std::string_view bytes);
  // The machine ended. The first end counts.
  void end(const MachineEnd& end);

  // ---- users' threads ----
  // Waits for the guest's first frame.
  Result<AgentReady> wait_ready(Clock::time_point deadline);
  Result<std::shared_ptr<Process>> exec(const ExecRequest& request);
  std::shared_ptr<Process> process(std::uint32_t id);
  [[nodiscard]] std::optional<MachineEnd> ended() const;
  Result<void> shutdown();  // asks the guest to power off

  // A capture, step by step: prepare, ring, then (the machine stands still) snapshot, then resume
  // if it goes on. Between prepare and resume, or cancel, nothing else is sent: callers wait.
  Result<void> prepare_capture(Clock::time_point deadline);
  Result<void> ring_capture();
  AgentSnapshot snapshot() const;
  void resume_after_capture(Clock::time_point deadline);
  void cancel_capture();

 private:
  friend class AgentProcess;
  enum class Phase : std::uint8_t { kAwaitHello, kAwaitGeneration, kRunning };
  // What may be sent: all, only credit (so that a freezing guest can finish its output), or
  // nothing.
  enum class Gate : std::uint8_t { kOpen, kCreditOnly, kShut };
  enum class Capture : std::uint8_t { kNone, kPreparing, kReady, kFailed, kRung, kThawed };
  struct ProcessState {
    ProcessRecord record;
    std::condition_variable changed;
  };
  using StatePtr = std::shared_ptr<ProcessState>;

  AgentClient(Send send, Phase phase) : send_(std::move(send)), phase_(phase) {}

  // Frames from the guest; mutex_ held. An Error breaks the protocol.
  Result<void> handle(wire::Frame frame);
  Result<void> handle_ready(const wire::Frame& frame);
  Result<void> handle_capture(const wire::Frame& frame);
  Result<void> handle_process(ProcessState& state, wire::Frame frame);
  Result<void> handle_start(ProcessState& state, const wire::Frame& frame);
  Result<void> handle_output(ProcessState& state, OutputStream stream, std::string bytes);
  Result<void> handle_input_window(ProcessState& state, const wire::Frame& frame);
  void end_locked(const MachineEnd& end);

  // Waits until `ready` and the gate is open, then sends what `build` makes, all under the locks
  // that keep a capture's silence.
  Result<void> send_when(std::string_view attempted, const std::function<bool()>& ready,
                         const std::function<Result<std::string>()>& build);
  Result<void> send_simple(std::string_view attempted, wire::AgentFrame type, std::uint32_t id,
                           std::string payload);
  Result<void> send_past_gate(wire::AgentFrame type, Gate gate);
  void open_gate();
  void return_credit();

  // The users' side of one process.
  std::optional<ProcessEvent> next_event(std::uint32_t id, ProcessState& state,
                                         std::optional<Milliseconds> timeout);
  Result<void> write_input(std::uint32_t id, ProcessState& state, int input, std::string_view data);
  Result<void> close_input(std::uint32_t id, ProcessState& state, int input);
  Result<void> tell_process(std::string_view attempted, ProcessState& state, wire::AgentFrame type,
                            std::uint32_t id, std::string payload);
  Result<void> started(const ExecRequest& request, std::uint32_t id, ProcessState& state);

  const Send send_;
  std::mutex send_mutex_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;  // phase, gate, capture, input credit, end
  wire::FrameDecoder decoder_;
  Phase phase_;
  AgentReady ready_;
  Gate gate_ = Gate::kOpen;  // changed only with both mutexes held
  Capture capture_ = Capture::kNone;
  std::string capture_failure_;
  std::optional<MachineEnd> ended_;
  std::map<std::uint32_t, StatePtr> processes_;  // until their last event is delivered
  std::uint32_t next_id_ = 1;
};

}  // namespace spore::session
