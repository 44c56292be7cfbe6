#include "cli/machines/connection.h"

#include <utility>

namespace spore::cli::machines {
namespace {

constexpr std::string_view kAttempted = "understanding a client of the machine";

}  // namespace

Result<std::unique_ptr<Connection>> Connection::create(Machine& machine, base::UniqueFd socket,
                                                       Capture capture) {
  SPORE_ASSIGN(auto stream, FrameStream::create(std::move(socket)));
  return std::unique_ptr<Connection>(
      new Connection(machine, std::move(stream), std::move(capture)));
}

Connection::Connection(Machine& machine, std::unique_ptr<FrameStream> stream, Capture capture)
    : machine_(machine),
      stream_(std::move(stream)),
      capture_(std::move(capture)),
      thread_([this] { run(); }) {}

Connection::~Connection() {
  stream_->close();
  thread_.join();
}

void Connection::expect_request(std::chrono::steady_clock::time_point deadline) {
  if (!requested_ && std::chrono::steady_clock::now() >= deadline) {
    stream_->close();
  }
}

void Connection::run() {
  if (const auto served = serve(); !served) {
    static_cast<void>(stream_->send_error(served.error()));
  }
  exec_.reset();
  console_.reset();
  stream_->close();
  over_ = true;
}

Result<void> Connection::serve() {
  for (;;) {
    SPORE_ASSIGN(const auto frame, stream_->receive());
    if (!frame) {
      return {};
    }
    SPORE_TRY(handle(*frame));
  }
}

Result<void> Connection::handle(const wire::Frame& frame) {
  if (!greeted_) {
    // Ours goes out first: a client of another build is to know which one this is.
    SPORE_TRY(stream_->send(MonitorFrame::kHello, hello_payload()));
    SPORE_TRY(check_hello(frame, "the client"));
    greeted_ = true;
    return {};
  }
  if (exec_ != nullptr) {
    return exec_->handle(frame);
  }
  if (requested_) {
    return fail(senseless(kAttempted, frame));
  }
  requested_ = true;
  return start(frame);
}

Result<void> Connection::start(const wire::Frame& request) {
  switch (type_of(request)) {
    case MonitorFrame::kExec:
      return start_process(request);
    case MonitorFrame::kLogs: {
      SPORE_ASSIGN(const auto message, wire::from_cbor<LogsMessage>(request.payload));
      console_ = std::make_unique<ConsoleRelay>(*stream_, machine_, message.follow);
      return {};
    }
    case MonitorFrame::kCapture: {
      SPORE_ASSIGN(const auto message, wire::from_cbor<CaptureMessage>(request.payload));
      if (message.after > AfterCapture::kIsSuspended) {
        return fail(senseless(kAttempted, request));
      }
      SPORE_ASSIGN(const SavedSpore saved, capture_(message));
      return stream_->send(MonitorFrame::kSaved, wire::to_cbor(saved));
    }
    default:
      return fail(senseless(kAttempted, request));
  }
}

Result<void> Connection::start_process(const wire::Frame& request) {
  SPORE_ASSIGN(auto message, wire::from_cbor<wire::ExecMessage>(request.payload));
  if (message.channel) {
    return fail(senseless(kAttempted, request));
  }
  ExecRequest exec;
  exec.argv = std::move(message.argv);
  exec.env = std::move(message.env);
  exec.workdir = std::move(message.workdir);
  exec.user = std::move(message.user);
  exec.terminal = message.terminal;
  exec.rows = message.rows;
  exec.columns = message.columns;
  SPORE_ASSIGN(auto process, machine_.exec(exec));
  SPORE_TRY(stream_->send(MonitorFrame::kDone, {}));
  exec_ = std::make_unique<ExecRelay>(*stream_, std::move(process));
  return {};
}

}  // namespace spore::cli::machines
