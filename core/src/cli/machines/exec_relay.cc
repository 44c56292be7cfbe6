#include "cli/machines/exec_relay.h"

#include <algorithm>
#include <csignal>
#include <string_view>
#include <utility>

namespace spore::cli::machines {
namespace {

constexpr std::string_view kPassing = "passing a client's frames to its process";

}  // namespace

ExecRelay::ExecRelay(FrameStream& stream, std::shared_ptr<Process> process)
    : stream_(stream),
      process_(std::move(process)),
      output_([this] { relay_output(); }),
      input_([this] { relay_input(); }) {}

ExecRelay::~ExecRelay() {
  stream_.close();  // nothing waits for a client any more
  {
    const std::lock_guard lock(mutex_);
    input_stopped_ = true;
    waiting_.clear();
  }
  changed_.notify_all();
  if (!over_) {
    // A failure is its end, or the machine's.
    static_cast<void>(process_->signal(SIGKILL));
  }
  output_.join();
  input_.join();
}

// ---- output
// -----------------------------------------------------------------------------------------

void ExecRelay::send_output(const Output& output) {
  const auto type =
      output.stream == OutputStream::kStderr ? MonitorFrame::kStderr : MonitorFrame::kStdout;
  std::string_view rest = output.data;
  while (!rest.empty()) {
    // A client that is gone is noticed by who reads its frames.
    static_cast<void>(stream_.send(type, rest.substr(0, kMaxPart)));
    rest.remove_prefix(std::min(kMaxPart, rest.size()));
  }
}

void ExecRelay::relay_output() {
  while (const auto event = process_->next_event(std::nullopt)) {
    if (const auto* output = std::get_if<Output>(&*event)) {
      send_output(*output);
    } else if (const auto* exited = std::get_if<Exited>(&*event)) {
      static_cast<void>(stream_.send(
          MonitorFrame::kExited,
          wire::to_cbor(wire::ExitedMessage{exited->code, exited->signal, exited->out_of_memory})));
      break;
    } else if (const auto* lost = std::get_if<Lost>(&*event)) {
      static_cast<void>(stream_.send(MonitorFrame::kLost, wire::to_cbor(lost->end)));
      break;
    } else {
      // Nobody captures here: it goes on as the only one. A failure is the process's end.
      static_cast<void>(process_->release_fixture_point());
    }
  }
  over_ = true;
  stream_.close();
}

// ---- input
// ------------------------------------------------------------------------------------------

Result<void> ExecRelay::handle(const wire::Frame& frame) {
  switch (type_of(frame)) {
    case MonitorFrame::kInput:
    case MonitorFrame::kInputEnd:
      return take_input(frame);
    case MonitorFrame::kSignal: {
      SPORE_ASSIGN(const auto message, wire::from_cbor<wire::SignalMessage>(frame.payload));
      if (message.number <= 0 || message.number >= NSIG) {
        return fail(senseless(kPassing, frame));
      }
      // A failure is the process's end, which the client hears.
      static_cast<void>(process_->signal(message.number));
      return {};
    }
    case MonitorFrame::kResize: {
      SPORE_ASSIGN(const auto message, wire::from_cbor<wire::ResizeMessage>(frame.payload));
      static_cast<void>(process_->resize(message.rows, message.columns));
      return {};
    }
    default:
      return fail(senseless(kPassing, frame));
  }
}

Result<void> ExecRelay::take_input(const wire::Frame& frame) {
  {
    const std::lock_guard lock(mutex_);
    if (input_ended_ || frame.payload.size() > kInputWindow - under_way_) {
      return fail(senseless(kPassing, frame));
    }
    input_ended_ = type_of(frame) == MonitorFrame::kInputEnd;
    under_way_ += frame.payload.size();
    waiting_ += frame.payload;
  }
  changed_.notify_all();
  return {};
}

void ExecRelay::relay_input() {
  for (;;) {
    std::string bytes;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return input_stopped_ || input_ended_ || !waiting_.empty(); });
      if (waiting_.empty()) {
        break;
      }
      bytes.swap(waiting_);
    }
    // What an ended process cannot take is dropped: the client hears of its end.
    static_cast<void>(process_->write_stdin(bytes));
    {
      const std::lock_guard lock(mutex_);
      under_way_ -= bytes.size();
    }
    const wire::WindowMessage window{0, static_cast<std::uint32_t>(bytes.size())};
    static_cast<void>(stream_.send(MonitorFrame::kInputWindow, wire::to_cbor(window)));
  }
  static_cast<void>(process_->close_stdin());
}

}  // namespace spore::cli::machines
