#include "cli/machines/client_process.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "session/ended.h"

namespace spore::cli::machines {
namespace {

// Output that may wait here for its consumer; the monitor waits then, and the process with it.
constexpr std::size_t kMaxWaiting = 1024 * 1024;

Error over_error(std::string_view attempted) {
  return Error(ErrorCode::kMachineEnded, fmt::format("{}: it has ended", attempted));
}

Error no_channel() {
  return Error(ErrorCode::kUnavailable,
               "using the channel of a command in a named machine: it has none");
}

}  // namespace

ClientProcess::ClientProcess(std::unique_ptr<FrameStream> stream, std::string machine)
    : stream_(std::move(stream)), machine_(std::move(machine)), reader_([this] { read_all(); }) {}

ClientProcess::~ClientProcess() {
  disconnect();
  {
    const std::lock_guard lock(mutex_);
    unwanted_ = true;
  }
  changed_.notify_all();
  reader_.join();
}

// ---- what the monitor says
// --------------------------------------------------------------------------

void ClientProcess::read_all() {
  std::string why = "the connection to the monitor of " + machine_ + " is gone";
  for (;;) {
    auto frame = stream_->receive();
    if (!frame || !*frame) {
      why = frame ? why : frame.error().message();
      break;
    }
    const auto more = handle(std::move(**frame));
    if (!more) {
      why = more.error().message();
      break;
    }
    if (!*more) {
      return;
    }
  }
  stream_->close();
  add_last(Lost{session::engine_failed_end(std::move(why))});
}

Result<bool> ClientProcess::handle(wire::Frame frame) {
  const std::string attempted = fmt::format("following a command in machine {}", machine_);
  switch (type_of(frame)) {
    case MonitorFrame::kStdout:
      add_output(OutputStream::kStdout, std::move(frame.payload));
      return true;
    case MonitorFrame::kStderr:
      add_output(OutputStream::kStderr, std::move(frame.payload));
      return true;
    case MonitorFrame::kInputWindow: {
      SPORE_ASSIGN(const auto window, wire::from_cbor<wire::WindowMessage>(frame.payload));
      const std::lock_guard lock(mutex_);
      if (window.bytes > kInputWindow - credit_) {
        return fail(senseless(attempted, frame));
      }
      credit_ += window.bytes;
      changed_.notify_all();
      return true;
    }
    case MonitorFrame::kExited: {
      SPORE_ASSIGN(const auto exited, wire::from_cbor<wire::ExitedMessage>(frame.payload));
      add_last(Exited{exited.code, exited.signal, exited.out_of_memory});
      return false;
    }
    case MonitorFrame::kLost: {
      SPORE_ASSIGN(auto end, wire::from_cbor<MachineEnd>(frame.payload));
      add_last(Lost{std::move(end)});
      return false;
    }
    case MonitorFrame::kError:
      return fail(error_of(frame));
    default:
      return fail(senseless(attempted, frame));
  }
}

void ClientProcess::add_output(OutputStream stream, std::string data) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return unwanted_ || waiting_bytes_ < kMaxWaiting; });
  waiting_bytes_ += data.size();
  events_.emplace_back(Output{stream, std::move(data)});
  changed_.notify_all();
}

void ClientProcess::add_last(ProcessEvent event) {
  const std::lock_guard lock(mutex_);
  over_ = true;
  events_.push_back(std::move(event));
  changed_.notify_all();
}

// ---- what its user asks
// -----------------------------------------------------------------------------

std::optional<ProcessEvent> ClientProcess::next_event(std::optional<Milliseconds> timeout) {
  std::unique_lock lock(mutex_);
  const auto has_event = [this] { return !events_.empty(); };
  if (!timeout) {
    changed_.wait(lock, has_event);
  } else if (!changed_.wait_for(lock, *timeout, has_event)) {
    return std::nullopt;
  }
  if (over_ && events_.size() == 1) {
    return events_.front();
  }
  ProcessEvent event = std::move(events_.front());
  events_.pop_front();
  if (const auto* output = std::get_if<Output>(&event)) {
    waiting_bytes_ -= output->data.size();
    changed_.notify_all();
  }
  return event;
}

Result<void> ClientProcess::write_stdin(std::string_view data) {
  const std::string attempted = fmt::format("writing to a command in machine {}", machine_);
  while (!data.empty()) {
    std::size_t size = 0;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return over_ || input_closed_ || credit_ > 0; });
      if (over_ || input_closed_) {
        return fail(over_error(attempted));
      }
      size = std::min({data.size(), credit_, kMaxPart});
      credit_ -= size;
    }
    SPORE_TRY(stream_->send(MonitorFrame::kInput, data.substr(0, size)));
    data.remove_prefix(size);
  }
  return {};
}

Result<void> ClientProcess::close_stdin() {
  {
    const std::lock_guard lock(mutex_);
    if (over_ || input_closed_) {
      return {};
    }
    input_closed_ = true;
  }
  changed_.notify_all();
  return stream_->send(MonitorFrame::kInputEnd, {});
}

Result<void> ClientProcess::write_channel(std::string_view /*data*/) {
  return fail(no_channel());
}

Result<void> ClientProcess::close_channel() {
  return fail(no_channel());
}

Result<void> ClientProcess::signal(int number) {
  return stream_->send(MonitorFrame::kSignal, wire::to_cbor(wire::SignalMessage{number}));
}

Result<void> ClientProcess::resize(std::uint16_t rows, std::uint16_t columns) {
  return stream_->send(MonitorFrame::kResize, wire::to_cbor(wire::ResizeMessage{rows, columns}));
}

}  // namespace spore::cli::machines
