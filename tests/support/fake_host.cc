#include "support/fake_host.h"

#include <utility>

#include "session/ended.h"

namespace spore::testing {

using session::MachineId;
using session::SporeId;

FakeHost::FakeHost() : engine_([this] { run(); }) {}

FakeHost::~FakeHost() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  engine_.join();
}

void FakeHost::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (stopping_) {
      return;
    }
    const auto task = std::move(tasks_.front());
    tasks_.pop_front();
    task();
  }
}

void FakeHost::post(MachineId id, std::function<void(Machine&)> task) {
  tasks_.emplace_back([this, id, task = std::move(task)] {
    const auto found = machines_.find(id);
    if (found != machines_.end() && !found->second->ended) {
      const auto machine = found->second;
      task(*machine);
    }
  });
  changed_.notify_all();
}

void FakeHost::flush(Machine& machine) {
  if (const std::string bytes = machine.agent.sent(); !bytes.empty() && !machine.ended) {
    machine.observer->on_agent_bytes(bytes);
  }
}

void FakeHost::end(Machine& machine, const MachineEnd& end) {
  if (!std::exchange(machine.ended, true)) {
    machine.observer->on_ended(end);
  }
}

void FakeHost::lose_next(int count) {
  const std::lock_guard lock(mutex_);
  to_lose_ = count;
}

bool FakeHost::lose(MachineId id) {
  if (to_lose_ == 0) {
    return false;
  }
  --to_lose_;
  post(id, [](Machine& machine) { end(machine, {EndReason::kReset, "lost", {}}); });
  return true;
}

void FakeHost::act(Machine& machine, ScriptedAgent::Act act) {
  flush(machine);
  switch (act) {
    case ScriptedAgent::Act::kNone:
      break;
    case ScriptedAgent::Act::kRing:
      machine.captured = true;
      machine.observer->on_captured({.freeze_us = 0, .pause_us = 7});
      break;
    case ScriptedAgent::Act::kPowerOff:
      end(machine, {EndReason::kPoweredOff, {}, machine.console});
      break;
    case ScriptedAgent::Act::kPanic:
      machine.console += "[    1.0] Kernel panic - not syncing: scripted\n";
      end(machine, {EndReason::kPanicked, "Kernel panic - not syncing: scripted", machine.console});
      break;
  }
}

Result<session::Host::Booted> FakeHost::boot(const MachineConfig& config,
                                             std::shared_ptr<session::MachineObserver> observer) {
  const std::lock_guard lock(mutex_);
  if (config.kernel == "none") {
    return fail(ErrorCode::kNotFound, "booting a machine: there is no kernel none");
  }
  auto machine = std::make_shared<Machine>();
  machine->observer = std::move(observer);
  machine->console = "[    0.0] Linux version scripted\n";
  machine->generation.id = "boot";
  const MachineId id = next_id_++;
  machines_.emplace(id, machine);
  if (lose(id)) {
    return Booted{id, machine->generation, 5};
  }
  post(id, [this, mode = config.hostname](Machine& booted) {
    if (mode == "oom") {
      booted.console += "[    0.5] Initramfs unpacking failed: write error\n";
    }
    if (mode == "panic" || mode == "oom") {
      act(booted, ScriptedAgent::Act::kPanic);
    } else if (mode == "old-agent") {
      std::string frame;
      wire::encode_frame(static_cast<std::uint16_t>(wire::AgentFrame::kHello), 0,
                         wire::to_cbor(wire::HelloMessage{77, "old"}), frame);
      booted.observer->on_agent_bytes(frame);
    } else if (mode != "silent") {
      booted.agent.say_hello();
      flush(booted);
    }
  });
  return Booted{id, machine->generation, 5};
}

Result<void> FakeHost::send_to_agent(MachineId id, std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  post(id, [this, data = std::string(bytes)](Machine& machine) {
    act(machine, machine.agent.take(data));
  });
  return {};
}

Result<SporeId> FakeHost::take_spore(MachineId id, bool keep_running) {
  const std::lock_guard lock(mutex_);
  const auto found = machines_.find(id);
  if (found == machines_.end() || !found->second->captured || found->second->ended) {
    return fail(ErrorCode::kInvalidArgument, "taking a spore: the machine was not captured");
  }
  Machine& machine = *found->second;
  machine.captured = false;
  const SporeId spore = next_id_++;
  spores_.emplace(spore, Spore{machine.agent, machine.generation});
  if (keep_running) {
    post(id, [](Machine& captured) {
      captured.agent.say_thawed();
      flush(captured);
    });
  } else {
    end(machine, session::closed_end());
  }
  return spore;
}

Result<std::vector<session::ForkedMachine>> FakeHost::fork(SporeId spore_id,
                                                           std::vector<session::ForkOrder> orders) {
  const std::lock_guard lock(mutex_);
  const auto found = spores_.find(spore_id);
  if (found == spores_.end()) {
    return fail(ErrorCode::kNotFound, "forking: there is no such spore");
  }
  std::vector<session::ForkedMachine> forked;
  for (auto& order : orders) {
    if (const auto replaced = machines_.find(order.replaces); replaced != machines_.end()) {
      end(*replaced->second, session::closed_end());
      machines_.erase(replaced);
    }
    auto machine = std::make_shared<Machine>();
    machine->agent = found->second.agent;
    machine->observer = std::move(order.observer);
    machine->generation = {found->second.generation.number + 1, "child-" + order.parameters.name,
                           found->second.generation.id, std::move(order.parameters)};
    const MachineId id = next_id_++;
    machines_.emplace(id, machine);
    forked.push_back({id, machine->generation, {.build_us = 3, .reset = order.replaces != 0}});
    if (lose(id)) {
      continue;
    }
    post(id, [number = machine->generation.number](Machine& child) {
      child.agent.say_generation(number);
      flush(child);
    });
  }
  return forked;
}

Result<SavedSpore> FakeHost::save(SporeId spore, const session::SaveOrder& order) {
  const std::lock_guard lock(mutex_);
  const auto found = spores_.find(spore);
  if (found == spores_.end()) {
    return fail(ErrorCode::kNotFound, "saving: there is no such spore");
  }
  if (!shelf_.try_emplace(order.path, Kept{found->second, order}).second) {
    return fail(ErrorCode::kInvalidArgument, "saving: it is there already");
  }
  SavedSpore saved;
  saved.id = "id of " + order.path;
  saved.path = order.path;
  saved.chunks = 7;
  return saved;
}

Result<session::LoadedHere> FakeHost::load(const std::string& path, const LoadOptions& options) {
  const std::lock_guard lock(mutex_);
  const auto found = shelf_.find(path);
  if (found == shelf_.end() || !options.kernel.empty()) {
    return fail(ErrorCode::kNotFound, "loading: there is no such spore");
  }
  const Kept& kept = found->second;
  session::LoadedHere loaded;
  loaded.id = next_id_++;
  loaded.spore.id = "id of " + path;
  loaded.spore.path = path;
  loaded.spore.annotations = kept.order.options.annotations;
  loaded.spore.backing = options.flat ? "flat" : "lazy";
  loaded.generation = kept.spore.generation;
  loaded.agent_section = kept.order.agent_section;
  spores_.emplace(loaded.id, kept.spore);
  return loaded;
}

Result<MachineStats> FakeHost::stats(MachineId id) {
  const std::lock_guard lock(mutex_);
  if (machines_.count(id) == 0) {
    return fail(ErrorCode::kNotFound, "there is no such machine");
  }
  return MachineStats{
      .memory_bytes = 512 * kMiB, .private_bytes = 1, .shared_bytes = 2, .exits = 3};
}

std::string FakeHost::console_tail(MachineId id) {
  const std::lock_guard lock(mutex_);
  const auto found = machines_.find(id);
  return found == machines_.end() ? std::string() : found->second->console;
}

void FakeHost::close(MachineId id) {
  const std::lock_guard lock(mutex_);
  if (const auto found = machines_.find(id); found != machines_.end()) {
    end(*found->second, session::closed_end());
    machines_.erase(found);
  }
}

void FakeHost::release(SporeId spore) {
  const std::lock_guard lock(mutex_);
  spores_.erase(spore);
}

void FakeHost::with_agents(const std::function<void(ScriptedAgent&)>& edit) {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, machine] : machines_) {
    edit(machine->agent);
  }
}

std::size_t FakeHost::machine_count() {
  const std::lock_guard lock(mutex_);
  return machines_.size();
}

std::size_t FakeHost::spore_count() {
  const std::lock_guard lock(mutex_);
  return spores_.size();
}

}  // namespace spore::testing
