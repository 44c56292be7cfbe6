#include "memory_budget.h"

#include <algorithm>
#include <utility>

namespace spore::gtest_runner {

MemoryBudget::Used MemoryBudget::used(bool with_leaving) const {
  Used used;
  for (const auto& [worker, running] : running_) {
    if (running.leaving && !with_leaving) {
      continue;
    }
    ++used.machines;
    if (const auto stats = running.machine->stats()) {  // else it ended by itself
      used.bytes += stats->private_bytes;
      used.largest = std::max(used.largest, stats->private_bytes);
    }
  }
  return used;
}

void MemoryBudget::await_room() {
  std::unique_lock lock(mutex_);
  left_.wait(lock, [this] {
    const Used all = used(true);
    return !bytes_ || all.machines == 0 || all.bytes + all.largest <= *bytes_;
  });
}

void MemoryBudget::enter(std::size_t worker, std::shared_ptr<Machine> machine) {
  const std::lock_guard lock(mutex_);
  running_[worker] = {std::move(machine)};
  left_.notify_all();
}

void MemoryBudget::leave(std::size_t worker) {
  const std::lock_guard lock(mutex_);
  running_.erase(worker);
  left_.notify_all();
}

bool MemoryBudget::should_leave(std::size_t worker) {
  const std::lock_guard lock(mutex_);
  const Used staying = used(false);
  if (!bytes_ || staying.machines < 2 || staying.bytes <= *bytes_) {
    return false;
  }
  running_[worker].leaving = true;
  return true;
}

}  // namespace spore::gtest_runner
