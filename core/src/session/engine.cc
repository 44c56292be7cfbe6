#include "session/engine.h"

#include <optional>
#include <utility>

namespace spore::session {

void Condemned::add(MachineId machine) {
  {
    const std::lock_guard lock(mutex_);
    machines_.push_back(machine);
  }
  changed_.notify_one();
}

void Condemned::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_one();
}

std::optional<MachineId> Condemned::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopped_ || !machines_.empty(); });
  if (stopped_) {
    return std::nullopt;
  }
  const MachineId machine = machines_.back();
  machines_.pop_back();
  return machine;
}

Engine::Engine(std::unique_ptr<Host> host, std::string name)
    : host_(std::move(host)), name_(std::move(name)), executioner_([this] {
        while (const auto machine = condemned_->next()) {
          close_machine(*machine);
        }
      }) {}

Engine::~Engine() {
  condemned_->stop();
  executioner_.join();
  close_all();
}

bool Engine::adopt(MachineId machine) {
  {
    const std::lock_guard lock(mutex_);
    if (!over_) {
      open_.insert(machine);
      return true;
    }
  }
  host_->close(machine);
  return false;
}

void Engine::close_machine(MachineId machine) {
  if (let_go(machine)) {
    host_->close(machine);
  }
}

bool Engine::let_go(MachineId machine) {
  const std::lock_guard lock(mutex_);
  return open_.erase(machine) != 0;
}

void Engine::close_all() {
  std::set<MachineId> left;
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
    left.swap(open_);
  }
  for (const MachineId machine : left) {
    host_->close(machine);
  }
}

}  // namespace spore::session
