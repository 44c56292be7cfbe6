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
  // The caller holds the worker's machine no more: room is told of when the machine is gone.
  void leave(std::size_t worker);
  // Whether a worker shall end, the machines being over the budget and others going on. It still
  // calls leave().
  bool should_leave(std::size_t worker);

 private:
  struct Running {
    std::shared_ptr<Machine> machine;
    bool leaving = false;
  };

  struct Used {
    std::size_t machines = 0;
    std::uint64_t bytes = 0;
    std::uint64_t largest = kLeastPerMachine;
  };

  // By the machines that run, with those that end soon or without them; mutex_ held.
  [[nodiscard]] Used used(bool with_leaving) const;

  const std::optional<std::uint64_t> bytes_;
  std::mutex mutex_;
  std::condition_variable left_;
  std::map<std::size_t, Running> running_;  // by worker; under mutex_
};

}  // namespace spore::gtest_runner
