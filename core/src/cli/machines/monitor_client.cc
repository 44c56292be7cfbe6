#include "cli/machines/monitor_client.h"

#include <fmt/format.h>
#include <poll.h>

#include <chrono>
#include <utility>

#include "cli/machines/local_socket.h"
#include "session/ended.h"

namespace spore::cli::machines {
namespace {

constexpr int kGreetingMs = 10'000;
constexpr std::chrono::milliseconds kEndingPause{100};
constexpr int kEndingRounds = 50;

}  // namespace

Error ended_error(std::string_view attempted, const Entry& entry) {
  return Error(
      ErrorCode::kMachineEnded,
      fmt::format("{0}: {1}; `spore logs {2}` shows its console, `spore rm {2}` removes it",
                  attempted, entry.record ? entry.record->end : "the machine ended", entry.name));
}

Result<MonitorClient> MonitorClient::connect(const Registry& registry, const std::string& name) {
  const std::string attempted = fmt::format("talking to machine {}", name);
  for (int round = 0;; ++round) {
    SPORE_ASSIGN(const Entry entry, registry.find(name));
    if (entry.state == State::kSuspended) {
      return fail(
          ErrorCode::kUnavailable,
          fmt::format("{0}: it is suspended; `spore resume {1}` lets it go on", attempted, name));
    }
    if (entry.state == State::kEnded) {
      return fail(ended_error(attempted, entry));
    }
    if (entry.state == State::kStarting) {
      return fail(ErrorCode::kUnavailable, attempted + ": it is still being created; try again");
    }
    auto socket = connect_to(registry.folder(name).path(), "socket");
    if (socket) {
      return greet(std::move(*socket), name);
    }
    // A monitor that is about to end may listen no more before its folder tells of that.
    if (socket.error().code() != ErrorCode::kNotFound || round == kEndingRounds) {
      return fail(socket.error().with_context(attempted));
    }
    std::this_thread::sleep_for(kEndingPause);
  }
}

Result<MonitorClient> MonitorClient::greet(base::UniqueFd socket, std::string name) {
  const int fd = socket.get();
  SPORE_ASSIGN(auto stream, FrameStream::create(std::move(socket)));
  MonitorClient client(std::move(stream), std::move(name));
  const std::string who = fmt::format("the monitor of {}", client.name_);
  // One that refuses at once may be gone before it is greeted, but not without a word.
  static_cast<void>(client.stream_->send(MonitorFrame::kHello, hello_payload()));
  pollfd readable{fd, POLLIN, 0};
  if (poll(&readable, 1, kGreetingMs) == 0) {
    return fail(ErrorCode::kTimedOut,
                fmt::format("talking to {0}: it did not answer within {1} s; `spore rm -f {2}` "
                            "ends it",
                            who, kGreetingMs / 1000, client.name_));
  }
  SPORE_ASSIGN(const wire::Frame frame, client.receive("talking to " + who));
  SPORE_TRY(check_hello(frame, who));
  return client;
}

Result<wire::Frame> MonitorClient::ask(std::string_view attempted, MonitorFrame type,
                                       std::string_view payload) {
  // A monitor that takes no more has said why, or its end is heard next.
  static_cast<void>(stream_->send(type, payload));
  return receive(attempted);
}

Result<wire::Frame> MonitorClient::receive(std::string_view attempted) {
  auto frame = stream_->receive();
  if (!frame) {
    return fail(frame.error().with_context(attempted));
  }
  if (!*frame) {
    return fail(
        ErrorCode::kMachineEnded,
        fmt::format("{}: its monitor went away; `spore list` shows what is left", attempted));
  }
  if (type_of(**frame) == MonitorFrame::kError) {
    return fail(error_of(**frame));
  }
  return std::move(**frame);
}

Result<std::shared_ptr<ClientProcess>> MonitorClient::exec(const ExecRequest& request) {
  const std::string attempted = fmt::format("starting a command in machine {}", name_);
  const std::string payload = wire::to_cbor(
      wire::ExecMessage{request.argv, request.env, request.workdir, request.user, request.terminal,
                        request.rows, request.columns, request.channel});
  if (payload.size() > wire::kMaxPayload) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: its arguments and environment are {} bytes, at most {} can be "
                            "sent: pass them in a file",
                            attempted, payload.size(), wire::kMaxPayload));
  }
  SPORE_ASSIGN(const wire::Frame frame, ask(attempted, MonitorFrame::kExec, payload));
  if (type_of(frame) != MonitorFrame::kDone) {
    return fail(senseless(attempted, frame));
  }
  return std::make_shared<ClientProcess>(std::move(stream_), name_);
}

Result<SavedSpore> MonitorClient::capture(const CaptureMessage& message) {
  const std::string attempted = fmt::format("capturing machine {}", name_);
  SPORE_ASSIGN(const wire::Frame frame,
               ask(attempted, MonitorFrame::kCapture, wire::to_cbor(message)));
  if (type_of(frame) != MonitorFrame::kSaved) {
    return fail(senseless(attempted, frame));
  }
  return wire::from_cbor<SavedSpore>(frame.payload);
}

Result<void> MonitorClient::logs(bool follow, const std::function<bool(std::string_view)>& take) {
  const std::string attempted = fmt::format("reading the console of machine {}", name_);
  SPORE_ASSIGN(wire::Frame frame,
               ask(attempted, MonitorFrame::kLogs, wire::to_cbor(LogsMessage{follow})));
  for (;;) {
    if (type_of(frame) == MonitorFrame::kDone) {
      return {};
    }
    if (type_of(frame) != MonitorFrame::kConsole) {
      return fail(senseless(attempted, frame));
    }
    if (!take(frame.payload)) {
      return {};
    }
    SPORE_ASSIGN(frame, receive(attempted));
  }
}

}  // namespace spore::cli::machines
