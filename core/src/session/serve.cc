#include "session/serve.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <array>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "session/ended.h"
#include "wire/frame.h"
#include "wire/host_protocol.h"

namespace spore::session {
namespace {

using wire::Frame;
using wire::HostFrame;

constexpr std::size_t kWorkers = 4;
constexpr std::size_t kMaxQueuedRequests = 4096;
constexpr std::size_t kMaxConsole = 64 * 1024;

// The writing half. Observers may outlive serve() by a moment: they find it closed.
class Wire {
 public:
  explicit Wire(Transport& transport) : transport_(&transport) {}

  void send(HostFrame type, std::uint64_t subject, std::string_view payload) {
    std::string bytes;
    wire::encode_frame(static_cast<std::uint16_t>(type), subject, payload, bytes);
    const std::lock_guard lock(mutex_);
    if (transport_ != nullptr && !transport_->write(bytes)) {
      transport_->close();  // the reader sees it and ends the service
      transport_ = nullptr;
    }
  }
  void close() {
    const std::lock_guard lock(mutex_);
    transport_ = nullptr;
  }

 private:
  std::mutex mutex_;
  Transport* transport_;
};

std::string tail_of(std::string text) {
  if (text.size() > kMaxConsole) {
    text.erase(0, text.size() - kMaxConsole);
  }
  return text;
}

class Relay final : public MachineObserver {
 public:
  Relay(std::shared_ptr<Wire> wire, MachineId name) : wire_(std::move(wire)), name_(name) {}

  void on_agent_bytes(std::string_view bytes) override {
    while (!bytes.empty()) {
      const std::string_view part = bytes.substr(0, wire::kMaxRelay);
      wire_->send(HostFrame::kFromAgent, name_, part);
      bytes.remove_prefix(part.size());
    }
  }
  void on_captured(const CaptureTimings& timings) override {
    wire_->send(HostFrame::kCaptured, name_, wire::to_cbor(timings));
  }
  void on_ended(const MachineEnd& end) override {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(ended_, true)) {
      MachineEnd told = end;
      told.console_tail = tail_of(std::move(told.console_tail));
      wire_->send(HostFrame::kEnded, name_, wire::to_cbor(told));
    }
  }

 private:
  const std::shared_ptr<Wire> wire_;
  const MachineId name_;  // the client's
  std::mutex mutex_;
  bool ended_ = false;
};

class Service {
 public:
  Service(Host& host, Transport& transport)
      : host_(host), transport_(transport), wire_(std::make_shared<Wire>(transport)) {}

  int run();

 private:
  struct Served {
    MachineId machine = 0;  // the Host's; 0 while it is being made
    std::shared_ptr<Relay> relay;
  };

  Result<void> read_until_end();
  Result<void> handle(Frame frame);
  Result<void> check_hello(const Frame& frame);
  void to_agent(const Frame& frame);
  void work();
  void finish();

  Result<std::string> answer(const Frame& request);
  Result<std::string> boot(const wire::BootMessage& message);
  Result<std::string> take_spore(const wire::TakeSporeMessage& message);
  Result<std::string> fork(wire::ForkMessage message);
  Result<std::string> save(wire::SaveMessage message);
  Result<std::string> load(const wire::LoadMessage& message);
  void close(MachineId name);
  void release(SporeId name);

  // Reserves a name for a machine to come; kInvalidArgument if it is taken.
  Result<std::shared_ptr<Relay>> reserve(MachineId name);
  void settle(MachineId name, MachineId machine);
  void drop(MachineId name);
  std::optional<Served> take_out(MachineId name);
  Result<MachineId> machine_of(MachineId name);
  // Keeps `spore` under the client's name; releases it if the name is taken.
  Result<void> name_spore(SporeId name, SporeId spore);
  Result<SporeId> spore_of(SporeId name);

  Host& host_;
  Transport& transport_;
  const std::shared_ptr<Wire> wire_;
  bool greeted_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<MachineId, Served> machines_;
  std::map<SporeId, SporeId> spores_;
  std::deque<Frame> requests_;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

int Service::run() {
  wire_->send(HostFrame::kHello, 0,
              wire::to_cbor(wire::HostHelloMessage{wire::kHostProtocolVersion, SPORE_VERSION}));
  for (std::size_t i = 0; i < kWorkers; ++i) {
    workers_.emplace_back([this] { work(); });
  }
  const auto outcome = read_until_end();
  finish();
  if (!outcome) {
    fmt::print(stderr, "spore serve: {}\n", outcome.error().message());
    return 1;
  }
  return 0;
}

Result<void> Service::read_until_end() {
  wire::FrameDecoder decoder;
  std::array<char, kReadSize> buffer;
  for (;;) {
    SPORE_ASSIGN(const std::size_t size, transport_.read(buffer));
    if (size == 0) {
      return {};
    }
    decoder.feed({buffer.data(), size});
    for (;;) {
      SPORE_ASSIGN(std::optional<Frame> frame, decoder.next());
      if (!frame) {
        break;
      }
      SPORE_TRY(handle(std::move(*frame)));
    }
  }
}

Result<void> Service::handle(Frame frame) {
  const auto type = static_cast<HostFrame>(frame.type);
  if (!greeted_) {
    return check_hello(frame);
  }
  if (type == HostFrame::kToAgent) {
    to_agent(frame);
    return {};
  }
  if (type < HostFrame::kBoot || type > HostFrame::kRelease) {
    return fail(ErrorCode::kCorrupt, fmt::format("the client sent a frame of type {}", frame.type));
  }
  const std::lock_guard lock(mutex_);
  if (requests_.size() >= kMaxQueuedRequests) {
    return fail(ErrorCode::kCorrupt, "the client floods its engine with requests");
  }
  requests_.push_back(std::move(frame));
  changed_.notify_one();
  return {};
}

Result<void> Service::check_hello(const Frame& frame) {
  if (static_cast<HostFrame>(frame.type) != HostFrame::kHello) {
    return fail(ErrorCode::kCorrupt, "the client is no spore");
  }
  SPORE_ASSIGN(const auto hello, wire::from_cbor<wire::HostHelloMessage>(frame.payload));
  if (hello.version != wire::kHostProtocolVersion || hello.build != SPORE_VERSION) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("the client is another build of spore ({})", hello.build));
  }
  greeted_ = true;
  return {};
}

void Service::to_agent(const Frame& frame) {
  // A machine that ended meanwhile was told of as ended.
  if (const auto machine = machine_of(frame.subject); machine) {
    static_cast<void>(host_.send_to_agent(*machine, frame.payload));
  }
}

void Service::work() {
  for (;;) {
    Frame request;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !requests_.empty(); });
      if (stopping_) {
        return;
      }
      request = std::move(requests_.front());
      requests_.pop_front();
    }
    const auto result = answer(request);
    if (result) {
      wire_->send(HostFrame::kReply, request.subject, *result);
    } else {
      const wire::ErrorMessage message{static_cast<std::uint32_t>(result.error().code()),
                                       tail_of(result.error().message())};
      wire_->send(HostFrame::kError, request.subject, wire::to_cbor(message));
    }
  }
}

void Service::finish() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& worker : workers_) {
    worker.join();
  }
  wire_->close();
  while (!machines_.empty()) {
    close(machines_.begin()->first);
  }
  while (!spores_.empty()) {
    release(spores_.begin()->first);
  }
}

Result<std::string> Service::answer(const Frame& request) {
  switch (static_cast<HostFrame>(request.type)) {
    case HostFrame::kBoot: {
      SPORE_ASSIGN(const auto message, wire::from_cbor<wire::BootMessage>(request.payload));
      return boot(message);
    }
    case HostFrame::kTakeSpore: {
      SPORE_ASSIGN(const auto message, wire::from_cbor<wire::TakeSporeMessage>(request.payload));
      return take_spore(message);
    }
    case HostFrame::kFork: {
      SPORE_ASSIGN(auto message, wire::from_cbor<wire::ForkMessage>(request.payload));
      return fork(std::move(message));
    }
    case HostFrame::kSave: {
      SPORE_ASSIGN(auto message, wire::from_cbor<wire::SaveMessage>(request.payload));
      return save(std::move(message));
    }
    case HostFrame::kLoad: {
      SPORE_ASSIGN(const auto message, wire::from_cbor<wire::LoadMessage>(request.payload));
      return load(message);
    }
    default:
      break;
  }
  SPORE_ASSIGN(const auto message, wire::from_cbor<wire::IdMessage>(request.payload));
  switch (static_cast<HostFrame>(request.type)) {
    case HostFrame::kStats: {
      SPORE_ASSIGN(const MachineId machine, machine_of(message.id));
      SPORE_ASSIGN(const MachineStats stats, host_.stats(machine));
      return wire::to_cbor(stats);
    }
    case HostFrame::kConsoleTail: {
      SPORE_ASSIGN(const MachineId machine, machine_of(message.id));
      return wire::to_cbor(wire::TextMessage{tail_of(host_.console_tail(machine))});
    }
    case HostFrame::kClose:
      close(message.id);
      return std::string();
    default:
      release(message.id);
      return std::string();
  }
}

Result<std::string> Service::boot(const wire::BootMessage& message) {
  SPORE_ASSIGN(const auto relay, reserve(message.machine));
  auto booted = host_.boot(message.config, relay);
  if (!booted) {
    drop(message.machine);
    return fail(booted.error());
  }
  settle(message.machine, booted->id);
  return wire::to_cbor(wire::BootedMessage{std::move(booted->generation), booted->build_us});
}

Result<std::string> Service::take_spore(const wire::TakeSporeMessage& message) {
  SPORE_ASSIGN(const MachineId machine, machine_of(message.machine));
  SPORE_ASSIGN(const SporeId spore, host_.take_spore(machine, message.keep_running));
  SPORE_TRY(name_spore(message.spore, spore));
  return std::string();
}

Result<void> Service::name_spore(SporeId name, SporeId spore) {
  const std::lock_guard lock(mutex_);
  if (!spores_.emplace(name, spore).second) {
    host_.release(spore);
    return fail(ErrorCode::kInvalidArgument, "making a spore: its id is taken");
  }
  return {};
}

Result<SporeId> Service::spore_of(SporeId name) {
  const std::lock_guard lock(mutex_);
  const auto found = spores_.find(name);
  if (found == spores_.end()) {
    return fail(ErrorCode::kNotFound, fmt::format("there is no spore {}", name));
  }
  return found->second;
}

Result<std::string> Service::save(wire::SaveMessage message) {
  SPORE_ASSIGN(const SporeId spore, spore_of(message.spore));
  SPORE_ASSIGN(const SavedSpore saved,
               host_.save(spore, {std::move(message.path), std::move(message.agent_section),
                                  std::move(message.options)}));
  return wire::to_cbor(saved);
}

Result<std::string> Service::load(const wire::LoadMessage& message) {
  SPORE_ASSIGN(LoadedHere loaded, host_.load(message.path, message.options));
  SPORE_TRY(name_spore(message.spore, loaded.id));
  return wire::to_cbor(wire::LoadedMessage{std::move(loaded.spore), std::move(loaded.generation),
                                           std::move(loaded.agent_section)});
}

Result<std::string> Service::fork(wire::ForkMessage message) {
  SPORE_ASSIGN(const SporeId spore, spore_of(message.spore));
  std::vector<ForkOrder> orders;
  std::vector<MachineId> names;
  std::vector<std::shared_ptr<Relay>> replaced;
  Result<std::vector<ForkedMachine>> forked;
  for (auto& child : message.children) {
    auto relay = reserve(child.machine);
    if (!relay) {
      forked = fail(relay.error());
      break;
    }
    names.push_back(child.machine);
    orders.push_back({std::move(child.parameters), std::move(*relay), 0});
    if (auto served = take_out(child.replaces)) {
      orders.back().replaces = served->machine;
      replaced.push_back(std::move(served->relay));
    }
  }
  if (forked) {
    forked = host_.fork(spore, std::move(orders));
  }
  for (const auto& relay : replaced) {
    relay->on_ended(closed_end());
  }
  if (!forked) {
    for (const MachineId name : names) {
      drop(name);
    }
    return fail(forked.error());
  }
  wire::ForkedMessage reply;
  for (std::size_t i = 0; i < names.size(); ++i) {
    ForkedMachine& child = (*forked)[i];
    settle(names[i], child.id);
    reply.children.push_back({std::move(child.generation), child.timings});
  }
  return wire::to_cbor(reply);
}

void Service::close(MachineId name) {
  const auto served = take_out(name);
  if (!served) {
    return;
  }
  if (served->machine != 0) {
    host_.close(served->machine);
  }
  served->relay->on_ended(closed_end());
}

std::optional<Service::Served> Service::take_out(MachineId name) {
  const std::lock_guard lock(mutex_);
  const auto found = machines_.find(name);
  if (found == machines_.end()) {
    return std::nullopt;
  }
  Served served = std::move(found->second);
  machines_.erase(found);
  return served;
}

void Service::release(SporeId name) {
  SporeId spore = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = spores_.find(name);
    if (found == spores_.end()) {
      return;
    }
    spore = found->second;
    spores_.erase(found);
  }
  host_.release(spore);
}

Result<std::shared_ptr<Relay>> Service::reserve(MachineId name) {
  auto relay = std::make_shared<Relay>(wire_, name);
  const std::lock_guard lock(mutex_);
  if (!machines_.emplace(name, Served{0, relay}).second) {
    return fail(ErrorCode::kInvalidArgument, "making a machine: its id is taken");
  }
  return relay;
}

void Service::settle(MachineId name, MachineId machine) {
  const std::lock_guard lock(mutex_);
  if (const auto found = machines_.find(name); found != machines_.end()) {
    found->second.machine = machine;
  }
}

void Service::drop(MachineId name) {
  const std::lock_guard lock(mutex_);
  machines_.erase(name);
}

Result<MachineId> Service::machine_of(MachineId name) {
  const std::lock_guard lock(mutex_);
  const auto found = machines_.find(name);
  if (found == machines_.end() || found->second.machine == 0) {
    return fail(ErrorCode::kNotFound, fmt::format("there is no machine {}", name));
  }
  return found->second.machine;
}

}  // namespace

int serve(Host& host, Transport& transport) {
  return Service(host, transport).run();
}

int serve(Host& host, int in_fd, int out_fd) {
  base::UniqueFd in(fcntl(in_fd, F_DUPFD_CLOEXEC, 0));
  base::UniqueFd out(fcntl(out_fd, F_DUPFD_CLOEXEC, 0));
  auto transport = in.valid() && out.valid()
                       ? FdTransport::create(std::move(in), std::move(out))
                       : fail(Error::from_errno(errno, "duplicating the descriptors of a stream"));
  if (!transport) {
    fmt::print(stderr, "spore serve: {}\n", transport.error().message());
    return 1;
  }
  return serve(host, **transport);
}

}  // namespace spore::session
