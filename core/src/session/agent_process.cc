#include "session/agent_process.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "session/ended.h"

namespace spore::session {
namespace {

using wire::AgentFrame;

// Input goes in frames of at most this, so that a signal does not wait behind a whole window.
constexpr std::size_t kMaxInputFrame = 64 * 1024;

struct InputKind {
  std::string_view name;
  AgentFrame data;
  AgentFrame end;
};
constexpr std::array<InputKind, 2> kInputs = {{
    {"the standard input", AgentFrame::kStdin, AgentFrame::kStdinEnd},
    {"the channel", AgentFrame::kChannelIn, AgentFrame::kChannelInEnd},
}};

Error exited_error(std::string_view attempted) {
  return Error(ErrorCode::kMachineEnded, fmt::format("{}: the process has ended", attempted));
}

std::string encoded(AgentFrame type, std::uint32_t id, std::string_view payload) {
  std::string bytes;
  wire::encode_frame(static_cast<std::uint16_t>(type), id, payload, bytes);
  return bytes;
}

}  // namespace

std::optional<ProcessEvent> AgentClient::next_event(std::uint32_t id, ProcessState& state,
                                                    std::optional<Milliseconds> timeout) {
  std::unique_lock lock(mutex_);
  ProcessRecord& record = state.record;
  const auto has_event = [&record] { return !record.events.empty(); };
  if (timeout) {
    if (!state.changed.wait_until(lock, deadline_after(*timeout), has_event)) {
      return std::nullopt;
    }
  } else {
    state.changed.wait(lock, has_event);
  }
  if (record.phase == ProcessRecord::Phase::kOver && record.events.size() == 1) {
    processes_.erase(id);
    return record.events.front();
  }
  ProcessEvent event = std::move(record.events.front());
  record.events.pop_front();
  if (std::holds_alternative<AtFixturePoint>(event)) {
    --record.fixture_points;
  } else if (const auto* output = std::get_if<Output>(&event)) {
    auto& window = record.output[static_cast<std::size_t>(output->stream) - 1];
    window.taken += static_cast<std::uint32_t>(output->data.size());
    if (window.taken >= kCreditBatch && record.phase == ProcessRecord::Phase::kRunning) {
      lock.unlock();
      return_credit();
    }
  }
  return event;
}

Result<void> AgentClient::write_input(std::uint32_t id, ProcessState& state, int input,
                                      std::string_view data) {
  const InputKind& kind = kInputs[static_cast<std::size_t>(input)];
  auto& window = state.record.input[static_cast<std::size_t>(input)];
  const std::string attempted = fmt::format("writing to {} of process {}", kind.name, id);
  const auto over = [&state] { return state.record.phase == ProcessRecord::Phase::kOver; };
  while (!data.empty()) {
    SPORE_TRY(send_when(
        attempted, [&] { return over() || window.closed || window.credit > 0; },
        [&]() -> Result<std::string> {
          if (over()) {
            return fail(exited_error(attempted));
          }
          if (window.closed) {
            return fail(ErrorCode::kInvalidArgument, attempted + ": it was closed before");
          }
          const std::size_t size =
              std::min({data.size(), std::size_t{window.credit}, kMaxInputFrame});
          window.credit -= static_cast<std::uint32_t>(size);
          std::string bytes = encoded(kind.data, id, data.substr(0, size));
          data.remove_prefix(size);
          return bytes;
        }));
  }
  return {};
}

Result<void> AgentClient::close_input(std::uint32_t id, ProcessState& state, int input) {
  const InputKind& kind = kInputs[static_cast<std::size_t>(input)];
  auto& window = state.record.input[static_cast<std::size_t>(input)];
  return send_when(
      fmt::format("closing {} of process {}", kind.name, id), [] { return true; },
      [&]() -> Result<std::string> {
        if (window.closed || state.record.phase == ProcessRecord::Phase::kOver) {
          return std::string();
        }
        window.closed = true;
        changed_.notify_all();
        return encoded(kind.end, id, {});
      });
}

Result<void> AgentClient::tell_process(std::string_view attempted, ProcessState& state,
                                       AgentFrame type, std::uint32_t id, std::string payload) {
  const std::string what = fmt::format("{} process {}", attempted, id);
  return send_when(
      what, [] { return true; },
      [&]() -> Result<std::string> {
        if (state.record.phase == ProcessRecord::Phase::kOver) {
          return fail(exited_error(what));
        }
        return encoded(type, id, payload);
      });
}

std::optional<ProcessEvent> AgentProcess::next_event(std::optional<Milliseconds> timeout) {
  return client_->next_event(id_, *state_, timeout);
}

Result<void> AgentProcess::write_stdin(std::string_view data) {
  return client_->write_input(id_, *state_, 0, data);
}

Result<void> AgentProcess::close_stdin() {
  return client_->close_input(id_, *state_, 0);
}

Result<void> AgentProcess::write_channel(std::string_view data) {
  return client_->write_input(id_, *state_, 1, data);
}

Result<void> AgentProcess::close_channel() {
  return client_->close_input(id_, *state_, 1);
}

Result<void> AgentProcess::signal(int number) {
  return client_->tell_process("signalling", *state_, AgentFrame::kSignal, id_,
                               wire::to_cbor(wire::SignalMessage{number}));
}

Result<void> AgentProcess::resize(std::uint16_t rows, std::uint16_t columns) {
  return client_->tell_process("resizing the terminal of", *state_, AgentFrame::kResize, id_,
                               wire::to_cbor(wire::ResizeMessage{rows, columns}));
}

Result<void> AgentProcess::release_fixture_point() {
  return client_->tell_process("releasing the fixture point of", *state_,
                               AgentFrame::kReleaseFixture, id_, {});
}

}  // namespace spore::session
