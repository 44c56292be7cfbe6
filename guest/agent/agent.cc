#include "agent/agent.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <optional>
#include <utility>

#include "agent/cgroups.h"
#include "agent/control.h"
#include "agent/files.h"
#include "agent/fixture.h"
#include "agent/log.h"
#include "agent/poller.h"
#include "agent/processes.h"
#include "agent/reaper.h"
#include "base/clock.h"

namespace spore::agent {
namespace {

using wire::AgentFrame;

constexpr std::chrono::milliseconds kShutdownGrace{2000};
constexpr time_t kFreezeSeconds = 30;

pid_t parent_of(pid_t pid) {
  const auto stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  const auto end = stat ? stat->rfind(')') : std::string::npos;
  pid_t parent = 0;
  if (end != std::string::npos && stat->size() > end + 4) {
    std::from_chars(stat->data() + end + 4, stat->data() + stat->size(), parent);
  }
  return parent;
}

class Agent {
 public:
  Agent(int control_fd, const AgentOptions& options, Poller& poller, Reaper& reaper,
        std::optional<Cgroups> cgroups, base::UniqueFd freeze_timer)
      : options_(options),
        poller_(poller),
        reaper_(reaper),
        cgroups_(std::move(cgroups)),
        control_(control_fd, poller),
        processes_(poller, control_, cgroups_ ? &*cgroups_ : nullptr),
        fixture_(
            poller, [this](pid_t pid) { return owner_of(pid); },
            [this](std::uint64_t id) {
              processes_.pump_all();  // what was printed before it is sent before it
              control_.send(AgentFrame::kFixturePoint, id);
            },
            [this] { return identity_.to_json(); }),
        freeze_timer_(std::move(freeze_timer)) {}
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  Result<void> start();
  AgentEnd serve();

 private:
  // kFreezing: waiting for the workload to stand still. kReady: it does; the doorbell is next.
  enum class Capture { kNone, kFreezing, kReady };

  void on_frame(const wire::Frame& frame);
  void on_process_frame(const wire::Frame& frame);
  std::optional<std::uint64_t> owner_of(pid_t pid) const;

  void prepare_capture();
  void check_frozen();
  void on_freeze_timeout();
  void cancel_capture();
  void capture();
  void stop_waiting_for_freeze();
  void set_freeze_timer(time_t seconds);
  void refuse_capture(const std::string& message);

  AgentOptions options_;
  Poller& poller_;
  Reaper& reaper_;
  std::optional<Cgroups> cgroups_;
  ControlStream control_;
  ProcessTable processes_;
  FixtureServer fixture_;
  base::UniqueFd freeze_timer_;
  Identity identity_;
  Capture capture_ = Capture::kNone;
  bool shutdown_ = false;
};

Agent::~Agent() {
  reaper_.stop(poller_);
  stop_waiting_for_freeze();
}

Result<void> Agent::start() {
  if (options_.generation != nullptr) {
    SPORE_TRY(options_.generation->prepare());
    identity_ = options_.generation->adopt();
  }
  if (!options_.run_directory.empty()) {
    SPORE_TRY(fixture_.listen(options_.run_directory + "/agent.sock"));
  }
  reaper_.start(poller_, [this](pid_t pid, int status) {
    processes_.on_reaped(pid, status);
    if (cgroups_) {
      cgroups_->remove_empty();
    }
  });
  control_.start([this](const wire::Frame& frame) { on_frame(frame); },
                 [this] { processes_.resume_output(); });
  utsname names{};
  ::uname(&names);
  control_.send_message(AgentFrame::kHello, 0,
                        wire::HelloMessage{wire::kAgentProtocolVersion, names.release});
  return {};
}

AgentEnd Agent::serve() {
  while (!control_.closed() && !shutdown_) {
    control_.flush();
    if (!control_.closed()) {  // a write that failed closes it, and nothing would ever wake us
      poller_.wait(-1);
    }
  }
  if (cgroups_) {
    cgroups_->thaw();  // a frozen process does not see SIGTERM
  }
  reaper_.end_all(shutdown_ ? kShutdownGrace : std::chrono::milliseconds(0));
  return shutdown_ ? AgentEnd::kShutdown : AgentEnd::kStreamEnded;
}

// ---- frames
// ---------------------------------------------------------------------------------------

void Agent::on_frame(const wire::Frame& frame) {
  switch (static_cast<AgentFrame>(frame.type)) {
    case AgentFrame::kPrepareCapture:
      return prepare_capture();
    case AgentFrame::kCapture:
      return capture();
    case AgentFrame::kCancelCapture:
      return cancel_capture();
    case AgentFrame::kReleaseFixture: {
      Identity alone = identity_;
      alone.child_index = alone.shard_index = 0;
      alone.child_count = alone.shard_count = 1;
      return fixture_.release(frame.subject, alone.to_json());
    }
    case AgentFrame::kShutdown:
      shutdown_ = true;
      return;
    default:
      return on_process_frame(frame);
  }
}

// Frames of a type that this version does not know are dropped.
void Agent::on_process_frame(const wire::Frame& frame) {
  const std::uint64_t id = frame.subject;
  switch (static_cast<AgentFrame>(frame.type)) {
    case AgentFrame::kExec:
      return processes_.exec(id, frame.payload);
    case AgentFrame::kStdin:
      return processes_.input(id, false, frame.payload);
    case AgentFrame::kStdinEnd:
      return processes_.end_input(id, false);
    case AgentFrame::kChannelIn:
      return processes_.input(id, true, frame.payload);
    case AgentFrame::kChannelInEnd:
      return processes_.end_input(id, true);
    case AgentFrame::kSignal:
      if (const auto message = wire::from_cbor<wire::SignalMessage>(frame.payload)) {
        processes_.signal(id, message->number);
      }
      return;
    case AgentFrame::kResize:
      if (const auto message = wire::from_cbor<wire::ResizeMessage>(frame.payload)) {
        processes_.resize(id, *message);
      }
      return;
    case AgentFrame::kOutputWindow:
      if (const auto message = wire::from_cbor<wire::WindowMessage>(frame.payload)) {
        processes_.acknowledge(id, *message);
      }
      return;
    default:
      return;
  }
}

std::optional<std::uint64_t> Agent::owner_of(pid_t pid) const {
  if (cgroups_) {
    return cgroups_->owner_of(pid);
  }
  for (pid_t above = pid; above > 1; above = parent_of(above)) {
    if (const auto id = processes_.id_of(above)) {
      return id;
    }
  }
  return std::nullopt;
}

// ---- capture
// --------------------------------------------------------------------------------------

void Agent::refuse_capture(const std::string& message) {
  control_.send_message(AgentFrame::kCaptureFailed, 0,
                        wire::FailureMessage{"preparing a capture: " + message});
}

void Agent::prepare_capture() {
  if (!cgroups_ || options_.generation == nullptr) {
    return refuse_capture("this agent does not run in a machine that can be captured");
  }
  if (capture_ != Capture::kNone) {
    return refuse_capture("another capture is under way");
  }
  capture_ = Capture::kFreezing;
  cgroups_->freeze();
  poller_.watch(cgroups_->events_fd(), EPOLLPRI, [this](std::uint32_t) { check_frozen(); });
  poller_.watch(freeze_timer_.get(), EPOLLIN, [this](std::uint32_t) { on_freeze_timeout(); });
  set_freeze_timer(kFreezeSeconds);
  check_frozen();
}

void Agent::check_frozen() {
  if (!cgroups_->frozen()) {
    return;
  }
  stop_waiting_for_freeze();
  processes_.pump_all();
  processes_.set_paused(true);
  capture_ = Capture::kReady;
  control_.send(AgentFrame::kCaptureReady, 0);
}

void Agent::on_freeze_timeout() {
  const std::string who = cgroups_->unfrozen();
  cancel_capture();
  refuse_capture("after " + std::to_string(kFreezeSeconds) +
                 " s these processes still could not be frozen: " + who);
}

void Agent::cancel_capture() {
  if (capture_ == Capture::kNone) {
    return;
  }
  stop_waiting_for_freeze();
  capture_ = Capture::kNone;
  cgroups_->thaw();
  processes_.set_paused(false);
}

void Agent::stop_waiting_for_freeze() {
  if (capture_ == Capture::kFreezing) {
    set_freeze_timer(0);
    poller_.forget(freeze_timer_.get());
    poller_.forget(cgroups_->events_fd());
  }
}

void Agent::set_freeze_timer(time_t seconds) {
  itimerspec when{};
  when.it_value.tv_sec = seconds;
  ::timerfd_settime(freeze_timer_.get(), 0, &when, nullptr);
}

// From here until the thaw every system call is paid for by every fork.
void Agent::capture() {
  if (capture_ != Capture::kReady) {
    return refuse_capture("the doorbell was asked for without a prepared capture");
  }
  control_.flush_fully();  // nothing of this side may be under way when the machine is copied
  if (control_.closed()) {
    return;
  }
  options_.generation->capture();
  capture_ = Capture::kNone;
  if (options_.generation->number() != identity_.number) {
    identity_ = options_.generation->adopt();
    const auto start = std::chrono::steady_clock::now();
    cgroups_->thaw();
    fixture_.release_all(identity_.to_json());
    const std::uint64_t thaw_us = base::microseconds_since(start);
    control_.send_message(AgentFrame::kGeneration, 0,
                          wire::GenerationMessage{identity_.number, identity_.id, thaw_us});
  } else {
    cgroups_->thaw();
    control_.send(AgentFrame::kThawed, 0);
  }
  control_.flush();
  processes_.set_paused(false);
}

}  // namespace

Result<AgentEnd> run_agent(int control_fd, const AgentOptions& options) {
  ::signal(SIGPIPE, SIG_IGN);
  SPORE_ASSIGN(Poller poller, Poller::create());
  SPORE_ASSIGN(Reaper reaper, Reaper::create());
  std::optional<Cgroups> cgroups;
  if (!options.cgroup_root.empty()) {
    SPORE_ASSIGN(cgroups, Cgroups::create(options.cgroup_root));
  }
  base::UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer.valid()) {
    return fail(Error::from_errno(errno, "making a timer"));
  }
  Agent agent(control_fd, options, poller, reaper, std::move(cgroups), std::move(timer));
  SPORE_TRY(agent.start());
  return agent.serve();
}

}  // namespace spore::agent
