#include "session/remote_host.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "session/agent_client.h"
#include "session/ended.h"

namespace spore::session {
namespace {

using wire::HostFrame;

Error broken_connection(const Error& why) {
  return Error(why.code(), "the connection to the engine broke: " + why.message());
}

}  // namespace

Result<std::unique_ptr<Host>> connect_remote_host(std::unique_ptr<Transport> transport,
                                                  Milliseconds timeout) {
  auto host = std::make_unique<RemoteHost>(std::move(transport));
  SPORE_TRY(host->handshake(timeout));
  return host;
}

RemoteHost::RemoteHost(std::unique_ptr<Transport> transport)
    : transport_(std::move(transport)), reader_([this] { read_all(); }) {}

RemoteHost::~RemoteHost() {
  transport_->close();
  reader_.join();
}

Result<void> RemoteHost::handshake(Milliseconds timeout) {
  constexpr std::string_view kAttempted = "connecting to the engine";
  const std::string hello =
      wire::to_cbor(wire::HostHelloMessage{wire::kHostProtocolVersion, SPORE_VERSION});
  const auto sent = send(HostFrame::kHello, 0, hello);
  std::unique_lock lock(mutex_);
  const bool over =
      greeted_.wait_until(lock, deadline_after(timeout), [this] { return hello_ || broken_; });
  if (broken_) {
    return fail(broken_->with_context(kAttempted));
  }
  if (!over) {
    return fail(ErrorCode::kTimedOut,
                fmt::format("{}: it did not answer within {} ms", kAttempted, timeout.count()));
  }
  return sent;
}

// ---- the reader
// -------------------------------------------------------------------------------------

void RemoteHost::read_all() {
  const auto outcome = read_until_end();
  const Error why =
      outcome ? Error(ErrorCode::kInternal, "it was closed at the other end") : outcome.error();
  transport_->close();  // a writer must not wait for a peer that is not understood
  fail_all(broken_connection(why));
}

Result<void> RemoteHost::read_until_end() {
  std::array<char, kReadSize> buffer;
  for (;;) {
    SPORE_ASSIGN(const std::size_t size, transport_->read(buffer));
    if (size == 0) {
      return {};
    }
    decoder_.feed({buffer.data(), size});
    for (;;) {
      SPORE_ASSIGN(const std::optional<wire::Frame> frame, decoder_.next());
      if (!frame) {
        break;
      }
      SPORE_TRY(handle(*frame));
    }
  }
}

void RemoteHost::fail_all(const Error& why) {
  std::map<MachineId, std::shared_ptr<MachineObserver>> observers;
  {
    const std::lock_guard lock(mutex_);
    broken_ = why;
    observers.swap(observers_);
    for (const auto& [request, pending] : pending_) {
      pending->answer = fail(why);
      pending->answered.notify_one();
    }
    pending_.clear();
    greeted_.notify_all();
  }
  for (const auto& [machine, observer] : observers) {
    observer->on_ended(engine_failed_end(why.message()));
  }
}

Result<void> RemoteHost::handle(const wire::Frame& frame) {
  const auto type = static_cast<HostFrame>(frame.type);
  if (hello_ == (type == HostFrame::kHello)) {
    return fail(ErrorCode::kCorrupt, "the other end is no spore engine");
  }
  switch (type) {
    case HostFrame::kHello:
      return handle_hello(frame);
    case HostFrame::kReply:
    case HostFrame::kError:
      return handle_reply(frame);
    case HostFrame::kFromAgent:
    case HostFrame::kCaptured:
    case HostFrame::kEnded:
      return handle_machine(frame);
    default:
      return fail(ErrorCode::kCorrupt, fmt::format("it sent a frame of type {}", frame.type));
  }
}

Result<void> RemoteHost::handle_hello(const wire::Frame& frame) {
  SPORE_ASSIGN(const auto hello, wire::from_cbor<wire::HostHelloMessage>(frame.payload));
  if (hello.version != wire::kHostProtocolVersion || hello.build != SPORE_VERSION) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("the nest runs another build of spore ({}, protocol {}; this is {}, "
                            "protocol {}): spore nest stop",
                            hello.build, hello.version, SPORE_VERSION, wire::kHostProtocolVersion));
  }
  const std::lock_guard lock(mutex_);
  hello_ = true;
  greeted_.notify_all();
  return {};
}

Result<void> RemoteHost::handle_reply(const wire::Frame& frame) {
  Result<std::string> answer = frame.payload;
  if (static_cast<HostFrame>(frame.type) == HostFrame::kError) {
    SPORE_ASSIGN(auto message, wire::from_cbor<wire::ErrorMessage>(frame.payload));
    if (message.code > static_cast<std::uint32_t>(ErrorCode::kInternal)) {
      return fail(ErrorCode::kCorrupt, fmt::format("it sent error code {}", message.code));
    }
    answer = fail(static_cast<ErrorCode>(message.code), std::move(message.message));
  }
  const std::lock_guard lock(mutex_);
  const auto found = pending_.find(frame.subject);
  if (found == pending_.end()) {
    return fail(ErrorCode::kCorrupt, "it answered what it was not asked");
  }
  found->second->answer = std::move(answer);
  found->second->answered.notify_one();
  pending_.erase(found);
  return {};
}

Result<void> RemoteHost::handle_machine(const wire::Frame& frame) {
  const auto type = static_cast<HostFrame>(frame.type);
  std::shared_ptr<MachineObserver> observer;
  {
    const std::lock_guard lock(mutex_);
    const auto found = observers_.find(frame.subject);
    if (found == observers_.end()) {
      return {};  // it ended here before the other end knew
    }
    observer = found->second;
    if (type == HostFrame::kEnded) {
      observers_.erase(found);
    }
  }
  if (type == HostFrame::kFromAgent) {
    observer->on_agent_bytes(frame.payload);
    return {};
  }
  if (type == HostFrame::kCaptured) {
    SPORE_ASSIGN(const auto timings, wire::from_cbor<CaptureTimings>(frame.payload));
    observer->on_captured(timings);
    return {};
  }
  const auto end = wire::from_cbor<MachineEnd>(frame.payload);
  observer->on_ended(end ? *end : engine_failed_end("its end was told in no known words"));
  return end ? Result<void>() : fail(end.error());
}

// ---- calls
// ------------------------------------------------------------------------------------------

Result<void> RemoteHost::send(HostFrame type, std::uint64_t subject, std::string_view payload) {
  if (payload.size() > wire::kMaxPayload) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("asking the engine: the request is {} bytes, at most {} can be sent",
                            payload.size(), wire::kMaxPayload));
  }
  std::string bytes;
  wire::encode_frame(static_cast<std::uint16_t>(type), subject, payload, bytes);
  const std::lock_guard writing(write_mutex_);
  const auto written = transport_->write(bytes);
  if (!written) {
    // The reader finds out as well, and tells everyone.
    transport_->close();
    return fail(broken_connection(written.error()));
  }
  return {};
}

Result<std::string> RemoteHost::ask(HostFrame type, std::string_view payload) {
  Pending pending;
  std::uint64_t request = 0;
  {
    const std::lock_guard lock(mutex_);
    if (broken_) {
      return fail(*broken_);
    }
    request = next_request_++;
    pending_.emplace(request, &pending);
  }
  const auto sent = send(type, request, payload);
  std::unique_lock lock(mutex_);
  if (!sent && pending_.erase(request) != 0) {
    return fail(sent.error());
  }
  pending.answered.wait(lock, [&pending] { return pending.answer.has_value(); });
  return std::move(*pending.answer);
}

Result<std::vector<MachineId>> RemoteHost::expect(
    std::vector<std::shared_ptr<MachineObserver>> observers) {
  const std::lock_guard lock(mutex_);
  if (broken_) {
    return fail(*broken_);
  }
  std::vector<MachineId> machines;
  for (auto& observer : observers) {
    machines.push_back(next_machine_++);
    observers_.emplace(machines.back(), std::move(observer));
  }
  return machines;
}

void RemoteHost::forget(const std::vector<MachineId>& machines) {
  const std::lock_guard lock(mutex_);
  for (const MachineId machine : machines) {
    observers_.erase(machine);
  }
}

Result<Host::Booted> RemoteHost::boot(const MachineConfig& config,
                                      std::shared_ptr<MachineObserver> observer) {
  SPORE_ASSIGN(const auto machines, expect({std::move(observer)}));
  const auto answer =
      ask(HostFrame::kBoot, wire::to_cbor(wire::BootMessage{machines.front(), config}));
  if (!answer) {
    forget(machines);
    return fail(answer.error());
  }
  SPORE_ASSIGN(auto booted, wire::from_cbor<wire::BootedMessage>(*answer));
  return Booted{machines.front(), std::move(booted.generation), booted.build_us};
}

Result<void> RemoteHost::send_to_agent(MachineId machine, std::string_view bytes) {
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, wire::kMaxRelay);
    SPORE_TRY(send(HostFrame::kToAgent, machine, part));
    bytes.remove_prefix(part.size());
  }
  return {};
}

Result<SporeId> RemoteHost::take_spore(MachineId machine, bool keep_running) {
  const SporeId spore = next_spore();
  SPORE_TRY(ask(HostFrame::kTakeSpore,
                wire::to_cbor(wire::TakeSporeMessage{machine, spore, keep_running})));
  return spore;
}

SporeId RemoteHost::next_spore() {
  const std::lock_guard lock(mutex_);
  return next_spore_++;
}

Result<SavedSpore> RemoteHost::save(SporeId spore, const SaveOrder& order) {
  SPORE_ASSIGN(const auto answer,
               ask(HostFrame::kSave, wire::to_cbor(wire::SaveMessage{
                                         spore, order.path, order.agent_section, order.options})));
  return wire::from_cbor<SavedSpore>(answer);
}

Result<LoadedHere> RemoteHost::load(const std::string& path, const LoadOptions& options) {
  const SporeId spore = next_spore();
  SPORE_ASSIGN(const auto answer,
               ask(HostFrame::kLoad, wire::to_cbor(wire::LoadMessage{spore, path, options})));
  SPORE_ASSIGN(auto loaded, wire::from_cbor<wire::LoadedMessage>(answer));
  return LoadedHere{spore, std::move(loaded.spore), std::move(loaded.generation),
                    std::move(loaded.agent_section)};
}

Result<std::vector<ForkedMachine>> RemoteHost::fork(SporeId spore, std::vector<ForkOrder> orders) {
  std::vector<std::shared_ptr<MachineObserver>> observers;
  for (ForkOrder& order : orders) {
    observers.push_back(std::move(order.observer));
  }
  SPORE_ASSIGN(const auto machines, expect(std::move(observers)));
  wire::ForkMessage message{spore, {}};
  for (std::size_t i = 0; i < orders.size(); ++i) {
    message.children.push_back({machines[i], std::move(orders[i].parameters), orders[i].replaces});
  }
  auto answer = ask(HostFrame::kFork, wire::to_cbor(message));
  if (!answer) {
    forget(machines);
    return fail(answer.error());
  }
  SPORE_ASSIGN(auto forked, wire::from_cbor<wire::ForkedMessage>(*answer));
  if (forked.children.size() != machines.size()) {
    for (const MachineId machine : machines) {
      close(machine);
    }
    return fail(ErrorCode::kCorrupt, "forking a machine: the engine made another number of them");
  }
  std::vector<ForkedMachine> result;
  for (std::size_t i = 0; i < machines.size(); ++i) {
    auto& child = forked.children[i];
    result.push_back({machines[i], std::move(child.generation), child.timings});
  }
  return result;
}

Result<MachineStats> RemoteHost::stats(MachineId machine) {
  SPORE_ASSIGN(const auto answer, ask(HostFrame::kStats, wire::to_cbor(wire::IdMessage{machine})));
  return wire::from_cbor<MachineStats>(answer);
}

std::string RemoteHost::console_tail(MachineId machine) {
  const auto answer = ask(HostFrame::kConsoleTail, wire::to_cbor(wire::IdMessage{machine}));
  const auto text = answer ? wire::from_cbor<wire::TextMessage>(*answer) : fail(answer.error());
  return text ? text->text : std::string();
}

void RemoteHost::close(MachineId machine) {
  // Without a connection the machine is gone already.
  static_cast<void>(ask(HostFrame::kClose, wire::to_cbor(wire::IdMessage{machine})));
  forget({machine});
}

void RemoteHost::release(SporeId spore) {
  static_cast<void>(ask(HostFrame::kRelease, wire::to_cbor(wire::IdMessage{spore})));
}

}  // namespace spore::session
