// Waiting for processes: Python's seconds, bounded waits, and the wait itself.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "spore/session.h"

namespace spore::python {

// Seconds, or None for ever; never less than nothing, and never more than a clock can count.
std::optional<Milliseconds> to_milliseconds(std::optional<double> seconds);

// A point in time, or never.
class Deadline {
 public:
  explicit Deadline(std::optional<double> seconds);
  [[nodiscard]] std::optional<Milliseconds> left() const;

 private:
  std::optional<std::chrono::steady_clock::time_point> end_;
};

// The next event; nullopt when `timeout` is over. Call it with the GIL held.
std::optional<ProcessEvent> next_event(const std::shared_ptr<Process>& process,
                                       std::optional<Milliseconds> timeout);

Error lost_error(std::uint32_t id, const Lost& lost);

}  // namespace spore::python
