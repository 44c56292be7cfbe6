#include "session/machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/clock.h"
#include "devices/generation.h"
#include "session/agent_section.h"
#include "session/ended.h"

namespace spore::session {
namespace {

// After the guest said that it is ready, only its doorbell is to come.
constexpr Milliseconds kDoorbellTimeout{10'000};
constexpr Milliseconds kGenerationTimeout{60'000};
// It travels in a frame of the host protocol.
constexpr std::size_t kMaxAgentSection = 900 * 1024;

std::uint64_t minus(std::uint64_t left, std::uint64_t right) {
  return left > right ? left - right : 0;
}

Result<ForkParameters> completed(ForkParameters child) {
  if (child.child_count == 0 || child.child_index >= child.child_count || child.shard_count == 0 ||
      child.shard_index >= child.shard_count) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("forking a machine: child {} of {}, shard {} of {}: an index must be "
                    "below its count",
                    child.child_index, child.child_count, child.shard_index, child.shard_count));
  }
  if (const auto checked = devices::check_user_parameters(child.user); !checked) {
    return fail(checked.error().with_context(fmt::format("forking child {}", child.child_index)));
  }
  if (child.name.empty()) {
    child.name = std::to_string(child.child_index);
  }
  if (child.hostname.empty()) {
    child.hostname = fmt::format("spore-{}", child.child_index);
  }
  return child;
}

}  // namespace

SessionMachine::SessionMachine(std::shared_ptr<Engine> engine, std::shared_ptr<MachineLink> link,
                               Generation generation, BootTimings boot, ForkTimings fork)
    : engine_(std::move(engine)),
      link_(std::move(link)),
      generation_(std::move(generation)),
      boot_(boot),
      fork_(fork) {}

SessionMachine::~SessionMachine() {
  close();
}

Result<std::shared_ptr<Process>> SessionMachine::exec(const ExecRequest& request) {
  return link_->client().exec(request);
}

std::shared_ptr<Process> SessionMachine::process(std::uint32_t id) {
  return link_->client().process(id);
}

std::optional<MachineEnd> SessionMachine::ended() const {
  return link_->client().ended();
}

Result<MachineStats> SessionMachine::stats() {
  if (const auto end = ended()) {
    return fail(ended_error("reading a machine's statistics", *end));
  }
  return engine_->host().stats(link_->machine());
}

std::string SessionMachine::console_tail() {
  // The host knows more of it than the end tells, until the machine is closed.
  std::string console = engine_->host().console_tail(link_->machine());
  const auto end = ended();
  return console.empty() && end ? end->console_tail : console;
}

void SessionMachine::close() {
  engine_->close_machine(link_->machine());
  link_->client().end(closed_end());
}

MachineId SessionMachine::give_up() {
  link_->will_close_as(put_back_end());
  const bool open = engine_->let_go(link_->machine());
  link_->client().end(put_back_end());
  return open ? link_->machine() : 0;
}

Result<CaptureTimings> SessionMachine::stand_still(const CaptureOptions& options) {
  AgentClient& client = link_->client();
  const auto asked_at = Clock::now();
  const auto deadline = deadline_after(options.timeout);
  SPORE_TRY(client.prepare_capture(deadline));
  link_->expect_capture();
  SPORE_TRY(client.ring_capture());
  auto timings = link_->await_capture(std::max(deadline, deadline_after(kDoorbellTimeout)));
  if (!timings) {
    if (const auto end = ended()) {
      return fail(ended_error("capturing the machine", *end));
    }
    client.cancel_capture();
    return fail(ErrorCode::kTimedOut,
                "capturing the machine: the guest froze its workload and then did not ring the "
                "doorbell; the machine goes on");
  }
  timings->freeze_us =
      minus(base::microseconds_between(asked_at, link_->captured_at()), timings->pause_us);
  return *timings;
}

Result<std::shared_ptr<Spore>> SessionMachine::capture(const CaptureOptions& options) {
  const std::lock_guard one_at_a_time(capture_mutex_);
  SPORE_ASSIGN(const CaptureTimings timings, stand_still(options));
  AgentSnapshot snapshot = link_->client().snapshot();
  if (!options.keep_running) {
    link_->will_close_as(closed_end("it was captured, to be forked"));
  }
  auto id = engine_->host().take_spore(link_->machine(), options.keep_running);
  if (!id) {
    close();  // it stands still for good
    return fail(id.error().with_context("capturing the machine"));
  }
  auto spore =
      std::make_shared<SessionSpore>(engine_, *id, std::move(snapshot), generation_, timings);
  if (options.keep_running) {
    link_->client().resume_after_capture(deadline_after(kDoorbellTimeout));
  } else {
    link_->client().end(closed_end("it was captured, to be forked"));
    engine_->close_machine(link_->machine());
  }
  return spore;
}

SessionSpore::SessionSpore(std::shared_ptr<Engine> engine, SporeId id, AgentSnapshot snapshot,
                           Generation generation, CaptureTimings timings,
                           std::optional<LoadedSpore> loaded)
    : engine_(std::move(engine)),
      id_(id),
      snapshot_(std::move(snapshot)),
      generation_(std::move(generation)),
      timings_(timings),
      loaded_(std::move(loaded)) {}

SessionSpore::~SessionSpore() {
  engine_->host().release(id_);
}

std::vector<std::uint32_t> SessionSpore::processes() const {
  std::vector<std::uint32_t> alive;
  for (const auto& [id, record] : snapshot_.processes) {
    if (record.phase != ProcessRecord::Phase::kOver) {
      alive.push_back(id);
    }
  }
  return alive;
}

Result<SavedSpore> SessionSpore::save(const std::string& path, const SaveOptions& options) {
  std::error_code error;
  const std::string absolute = std::filesystem::absolute(path, error).lexically_normal().string();
  std::string agent_section = write_agent_section(snapshot_);
  if (agent_section.size() > kMaxAgentSection) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("saving the spore {}: the processes in it have {} bytes of output that "
                            "nobody has read, too much to be kept: read it before the capture",
                            path, agent_section.size() / 2));
  }
  return engine_->host().save(id_, {absolute, std::move(agent_section), options});
}

Result<std::vector<std::unique_ptr<Machine>>> SessionSpore::fork(
    const std::vector<ForkParameters>& children) {
  return fork_all(children, 0);
}

Result<std::unique_ptr<Machine>> SessionSpore::reset(Machine& used, const ForkParameters& child) {
  auto* machine = dynamic_cast<SessionMachine*>(&used);
  if (machine == nullptr || !machine->is_of(*engine_)) {
    return fail(ErrorCode::kInvalidArgument,
                "resetting a machine: it and the spore are of two sessions");
  }
  SPORE_ASSIGN(const ForkParameters wanted, completed(child));
  const MachineId replaced = machine->give_up();
  auto machines = fork_all({wanted}, replaced);
  if (!machines) {
    engine_->host().close(replaced);  // which does nothing if it was replaced
    return fail(machines.error().with_context("resetting a machine"));
  }
  return std::move(machines->front());
}

Result<std::vector<std::unique_ptr<Machine>>> SessionSpore::fork_all(
    const std::vector<ForkParameters>& children, MachineId replaces) {
  if (children.empty()) {
    return fail(ErrorCode::kInvalidArgument, "forking a machine: no child is asked for");
  }
  std::vector<ForkParameters> wanted;
  for (const ForkParameters& child : children) {
    SPORE_ASSIGN(wanted.emplace_back(), completed(child));
  }
  SPORE_ASSIGN(std::vector<Child> started, start_children(wanted, replaces));
  std::vector<std::unique_ptr<Machine>> machines;
  for (Child& child : started) {
    machines.push_back(std::make_unique<SessionMachine>(engine_, std::move(child.link),
                                                        std::move(child.machine.generation),
                                                        BootTimings{}, child.timings));
  }
  return machines;
}

Result<std::vector<SessionSpore::Child>> SessionSpore::start_children(
    const std::vector<ForkParameters>& children, MachineId replaces) {
  std::vector<ForkOrder> orders;
  std::vector<Child> forked(children.size());
  for (std::size_t i = 0; i < children.size(); ++i) {
    forked[i].link = MachineLink::for_child(engine_, snapshot_);
    orders.push_back({children[i], forked[i].link, std::exchange(replaces, 0)});
  }
  const auto start = Clock::now();
  SPORE_ASSIGN(auto made, engine_->host().fork(id_, std::move(orders)));
  bool adopted = made.size() == forked.size();
  for (std::size_t i = 0; i < std::min(made.size(), forked.size()); ++i) {
    forked[i].link->set_machine(made[i].id);
    adopted = engine_->adopt(made[i].id) && adopted;
    forked[i].machine = std::move(made[i]);
  }
  const auto close_all = [&] {
    for (const Child& child : forked) {
      engine_->close_machine(child.machine.id);
    }
  };
  if (!adopted) {
    close_all();
    return fail(ErrorCode::kMachineEnded, "forking a machine: its session is over");
  }
  const auto deadline = deadline_after(kGenerationTimeout);
  for (std::size_t i = 0; i < forked.size(); ++i) {
    Child& child = forked[i];
    AgentClient& client = child.link->client();
    const auto ready = client.wait_ready(deadline);
    if (ready) {
      child.timings = child.machine.timings;
      const std::uint64_t woken_us =
          minus(base::microseconds_between(start, ready->at), child.timings.build_us);
      child.timings.user_us = std::min(ready->thaw_us, woken_us);
      child.timings.agent_us = woken_us - child.timings.user_us;
      continue;
    }
    const auto end = client.ended();
    const std::string console =
        end ? end->console_tail : engine_->host().console_tail(child.machine.id);
    close_all();
    return fail(ready.error().code(), with_console(fmt::format("forking a machine: child {}: {}", i,
                                                               ready.error().message()),
                                                   console));
  }
  return forked;
}

}  // namespace spore::session

namespace spore {

Result<std::vector<std::unique_ptr<Machine>>> Spore::fork(std::uint32_t count) {
  std::vector<ForkParameters> children(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    children[i].child_index = children[i].shard_index = i;
    children[i].child_count = children[i].shard_count = count;
  }
  return fork(children);
}

}  // namespace spore
