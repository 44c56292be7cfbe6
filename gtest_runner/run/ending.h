// What ends an iteration before all its tests are run: the limit of the whole run, and the first
// failure where --gtest_fail_fast is given. All children look here.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>

namespace spore::gtest_runner {

// What has come about is fetched though it is late.
inline constexpr std::chrono::milliseconds kForReport{5000};

struct Ending {
  using Clock = std::chrono::steady_clock;
  using Milliseconds = std::chrono::milliseconds;

  std::optional<Clock::time_point> deadline;  // of the whole run
  double limit_s = 0;                         // of --timeout-all
  bool fail_fast = false;
  std::atomic<bool> failed{false};  // something in this iteration, in any child

  [[nodiscard]] bool is_late() const {
    constexpr Milliseconds kEarly{2};  // that a wait in whole milliseconds may end before its time
    return deadline && Clock::now() + kEarly >= *deadline;
  }
  [[nodiscard]] bool failed_fast() const { return fail_fast && failed; }
  // No further test is to begin.
  [[nodiscard]] bool is_over() const { return failed_fast() || is_late(); }

  // How long to wait for a step for which `timeout` is given; `least` even when it is late.
  [[nodiscard]] std::optional<Milliseconds> patience(std::optional<Milliseconds> timeout,
                                                     Milliseconds least = Milliseconds{0}) const {
    if (!deadline) {
      return timeout;
    }
    const auto left = std::max(least, std::chrono::ceil<Milliseconds>(*deadline - Clock::now()));
    return std::min(left, timeout.value_or(left));
  }
};

}  // namespace spore::gtest_runner
