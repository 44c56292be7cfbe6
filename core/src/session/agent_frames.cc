// AgentClient's hostile half: frames from a guest. All of it runs with the client's mutex held, on
// an engine's thread.
#include <fmt/format.h>

#include <utility>

#include "session/agent_client.h"
#include "session/ended.h"

namespace spore::session {
namespace {

using wire::AgentFrame;

// Undelivered fixture points of one process; a guest that calls more of them does so to hurt.
constexpr std::uint32_t kMaxFixturePoints = 64;
// Output is joined into events of up to this size.
constexpr std::size_t kMaxOutputEvent = 64 * 1024;

tl::unexpected<Error> broken(std::string message) {
  return fail(ErrorCode::kCorrupt, std::move(message));
}

}  // namespace

Result<void> AgentClient::feed(std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  if (ended_) {
    return {};
  }
  decoder_.feed(bytes);
  const auto handle_all = [this]() -> Result<void> {
    for (;;) {
      SPORE_ASSIGN(std::optional<wire::Frame> frame, decoder_.next());
      if (!frame) {
        return {};
      }
      SPORE_TRY(handle(std::move(*frame)));
    }
  };
  auto handled = handle_all();
  if (!handled) {
    end_locked(
        engine_failed_end("the guest's agent broke its protocol: " + handled.error().message()));
  }
  return handled;
}

Result<void> AgentClient::handle(wire::Frame frame) {
  switch (static_cast<AgentFrame>(frame.type)) {
    case AgentFrame::kHello:
    case AgentFrame::kGeneration:
      return handle_ready(frame);
    default:
      break;
  }
  if (phase_ != Phase::kRunning) {
    return broken(fmt::format("frame {} came before its first word", frame.type));
  }
  switch (static_cast<AgentFrame>(frame.type)) {
    case AgentFrame::kCaptureReady:
    case AgentFrame::kCaptureFailed:
    case AgentFrame::kThawed:
      return handle_capture(frame);
    default:
      break;
  }
  const auto found = frame.subject > UINT32_MAX
                         ? processes_.end()
                         : processes_.find(static_cast<std::uint32_t>(frame.subject));
  if (found == processes_.end() || found->second->record.phase == ProcessRecord::Phase::kOver) {
    return broken(
        fmt::format("frame {} for process {}, which does not run", frame.type, frame.subject));
  }
  return handle_process(*found->second, std::move(frame));
}

Result<void> AgentClient::handle_ready(const wire::Frame& frame) {
  const bool hello = static_cast<AgentFrame>(frame.type) == AgentFrame::kHello;
  if (phase_ != (hello ? Phase::kAwaitHello : Phase::kAwaitGeneration)) {
    return broken(fmt::format("frame {} out of turn", frame.type));
  }
  if (hello) {
    SPORE_ASSIGN(const auto message, wire::from_cbor<wire::HelloMessage>(frame.payload));
    if (message.version != wire::kAgentProtocolVersion) {
      return broken(
          fmt::format("the agent speaks version {}, this build of spore version {}: "
                      "reinstall, so that both are of one build",
                      message.version, wire::kAgentProtocolVersion));
    }
  } else {
    SPORE_ASSIGN(const auto message, wire::from_cbor<wire::GenerationMessage>(frame.payload));
    ready_.thaw_us = message.thaw_us;
  }
  phase_ = Phase::kRunning;
  ready_.at = Clock::now();
  changed_.notify_all();
  return {};
}

Result<void> AgentClient::handle_capture(const wire::Frame& frame) {
  // An answer to a capture that was given up may come late: it is dropped.
  switch (static_cast<AgentFrame>(frame.type)) {
    case AgentFrame::kCaptureReady:
      if (capture_ == Capture::kPreparing) {
        capture_ = Capture::kReady;
      }
      break;
    case AgentFrame::kCaptureFailed: {
      SPORE_ASSIGN(auto message, wire::from_cbor<wire::FailureMessage>(frame.payload));
      if (capture_ == Capture::kPreparing) {
        capture_ = Capture::kFailed;
        capture_failure_ = std::move(message.message);
      }
      break;
    }
    default:
      if (capture_ == Capture::kRung) {
        capture_ = Capture::kThawed;
      }
      break;
  }
  changed_.notify_all();
  return {};
}

Result<void> AgentClient::handle_process(ProcessState& state, wire::Frame frame) {
  ProcessRecord& record = state.record;
  const auto type = static_cast<AgentFrame>(frame.type);
  if (type == AgentFrame::kStarted || type == AgentFrame::kStartFailed) {
    return handle_start(state, frame);
  }
  if (record.phase != ProcessRecord::Phase::kRunning) {
    return broken(
        fmt::format("frame {} for process {} before its start", frame.type, frame.subject));
  }
  switch (type) {
    case AgentFrame::kStdout:
      return handle_output(state, OutputStream::kStdout, std::move(frame.payload));
    case AgentFrame::kStderr:
      return handle_output(state, OutputStream::kStderr, std::move(frame.payload));
    case AgentFrame::kChannelOut:
      return handle_output(state, OutputStream::kChannel, std::move(frame.payload));
    case AgentFrame::kInputWindow:
      return handle_input_window(state, frame);
    case AgentFrame::kFixturePoint:
      if (++record.fixture_points > kMaxFixturePoints) {
        return broken(fmt::format("process {} floods its fixture point", frame.subject));
      }
      record.events.emplace_back(AtFixturePoint{});
      break;
    case AgentFrame::kExited: {
      SPORE_ASSIGN(const auto message, wire::from_cbor<wire::ExitedMessage>(frame.payload));
      if (message.code < 0 || message.code > 255 || message.signal < 0 || message.signal > 127) {
        return broken(fmt::format("process {} ended with status {} and signal {}", frame.subject,
                                  message.code, message.signal));
      }
      record.phase = ProcessRecord::Phase::kOver;
      record.events.emplace_back(Exited{message.code, message.signal, message.out_of_memory});
      changed_.notify_all();  // writers to its input
      break;
    }
    default:
      return broken(fmt::format("frame of unknown type {}", frame.type));
  }
  state.changed.notify_all();
  return {};
}

Result<void> AgentClient::handle_start(ProcessState& state, const wire::Frame& frame) {
  ProcessRecord& record = state.record;
  if (record.phase != ProcessRecord::Phase::kStarting) {
    return broken(fmt::format("process {} was started twice", frame.subject));
  }
  if (static_cast<AgentFrame>(frame.type) == AgentFrame::kStarted) {
    SPORE_TRY(wire::from_cbor<wire::StartedMessage>(frame.payload));
    record.phase = ProcessRecord::Phase::kRunning;
    record.started = true;
  } else {
    SPORE_ASSIGN(record.start_failure, wire::from_cbor<wire::StartFailedMessage>(frame.payload));
    record.phase = ProcessRecord::Phase::kOver;
    record.events.emplace_back(Exited{.code = 127});
  }
  state.changed.notify_all();
  return {};
}

Result<void> AgentClient::handle_output(ProcessState& state, OutputStream stream,
                                        std::string bytes) {
  ProcessRecord& record = state.record;
  auto& window = record.output[static_cast<std::size_t>(stream) - 1];
  if (bytes.size() > wire::kStreamWindow - window.unacknowledged) {
    return broken("it sent more output than its window allows");
  }
  if (bytes.empty()) {
    return {};
  }
  window.unacknowledged += static_cast<std::uint32_t>(bytes.size());
  auto* last = record.events.empty() ? nullptr : std::get_if<Output>(&record.events.back());
  if (last != nullptr && last->stream == stream &&
      last->data.size() + bytes.size() <= kMaxOutputEvent) {
    last->data += bytes;
  } else {
    record.events.emplace_back(Output{stream, std::move(bytes)});
  }
  state.changed.notify_all();
  return {};
}

Result<void> AgentClient::handle_input_window(ProcessState& state, const wire::Frame& frame) {
  SPORE_ASSIGN(const auto message, wire::from_cbor<wire::WindowMessage>(frame.payload));
  constexpr std::uint8_t kStdinStream = 0;
  constexpr std::uint8_t kChannelStream = 3;
  if (message.stream != kStdinStream && message.stream != kChannelStream) {
    return broken(fmt::format("input credit for stream {}", message.stream));
  }
  auto& window = state.record.input[message.stream == kStdinStream ? 0 : 1];
  if (message.bytes > wire::kStreamWindow - window.credit) {
    return broken("it gave back more input credit than it was sent bytes");
  }
  window.credit += message.bytes;
  changed_.notify_all();
  return {};
}

}  // namespace spore::session
