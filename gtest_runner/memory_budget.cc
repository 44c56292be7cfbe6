#include "memory_budget.h"

#include <algorithm>
#include <utility>

namespace spore::gtest_runner {

std::uint64_t MemoryBudget::bytes_with(std::size_t more) const {
  std::uint64_t sum = 0;
  std::uint64_t largest = kLeastPerMachine;
  for (const auto& [worker, machine] : running_) {
    if (const auto stats = machine->stats()) {  // else it ended by itself
      sum += stats->private_bytes;
      largest = std::max(largest, stats->private_bytes);
    }
  }
  return sum + more * largest;
}

void MemoryBudget::await_room() {
  std::unique_lock lock(mutex_);
  left_.wait(lock, [this] { return !bytes_ || running_.empty() || bytes_with(1) <= *bytes_; });
}

void MemoryBudget::enter(std::size_t worker, std::shared_ptr<Machine> machine) {
  const std::lock_guard lock(mutex_);
  running_[worker] = std::move(machine);
  left_.notify_all();
}

void MemoryBudget::leave(std::size_t worker) {
  const std::lock_guard lock(mutex_);
  running_.erase(worker);
  left_.notify_all();
}

bool MemoryBudget::leave_if_crowded(std::size_t worker) {
  const std::lock_guard lock(mutex_);
  if (!bytes_ || running_.size() < 2 || bytes_with(0) <= *bytes_) {
    return false;
  }
  running_.erase(worker);
  left_.notify_all();
  return true;
}

}  // namespace spore::gtest_runner
