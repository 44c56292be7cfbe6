// Keeps what running machines have of their own within a budget: when they near it, fewer run.
// None is ended for it, and one may always run.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "spore/session.h"

namespace spore::gtest_runner {

// What a new machine is taken to need of its own until larger ones are seen.
inline constexpr std::uint64_t kLeastPerMachine = 16 * kMiB;
inline constexpr std::uint64_t kSmallestBudget = 2 * kLeastPerMachine;

// Threads: any.
class MemoryBudget {
 public:
  // Nothing: no bound.
  explicit MemoryBudget(std::optional<std::uint64_t> bytes) : bytes_(bytes) {}

  // Waits until the budget has room for one machine more.
  void await_room();
  // What a worker runs from now on, in the place of what it ran before.
  void enter(std::size_t worker, std::shared_ptr<Machine> machine);
  void leave(std::size_t worker);
  // Ends a worker if the machines are over the budget and others go on.
  bool leave_if_crowded(std::size_t worker);

 private:
  // Bytes of the running machines, and of `more` like the largest; mutex_ held.
  [[nodiscard]] std::uint64_t bytes_with(std::size_t more) const;

  const std::optional<std::uint64_t> bytes_;
  std::mutex mutex_;
  std::condition_variable left_;
  std::map<std::size_t, std::shared_ptr<Machine>> running_;  // under mutex_
};

}  // namespace spore::gtest_runner
