// How long it takes a worker to come to its next test, beside how long tests run.
#pragma once

#include <chrono>
#include <cstddef>

namespace spore::gtest_runner {

class Pace {
 public:
  using Duration = std::chrono::steady_clock::duration;
  struct Turn {
    Duration start;    // from when the worker had nothing to do until its first test began
    Duration running;  // from then to the end of the program
    std::size_t tests;
  };

  void turned(const Turn& turn) noexcept;
  // As many tests as run for as long as the last start took; 1 while nothing is known.
  [[nodiscard]] std::size_t tests_worth_a_start() const noexcept;

 private:
  Duration start_{};
  Duration running_{};
  std::size_t tests_ = 0;
};

}  // namespace spore::gtest_runner
