// What a run cost, and how it is told: one closing line, the phases of forks and resets, JSON.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "spore/machine.h"

namespace spore::gtest_runner {

struct RunCosts {
  std::string engine;
  double boot_s = 0;
  double resume_s = 0;           // of a kept machine, in place of all until the capture
  std::uint64_t kept_bytes = 0;  // of the machine that is kept for the next run
  double keep_s = 0;
  double setup_s = 0;
  double capture_ms = 0;
  std::size_t suites = 0;  // that were set up once for all their tests
  double suites_s = 0;     // all of them, one after the other, with their captures
  double fork_ms = 0;
  double tests_s = 0;
  std::size_t children = 0;
  std::size_t resets = 0;           // machines put back for the next test
  double resets_ms = 0;             // all of them, one after the other
  std::uint64_t private_bytes = 0;  // of all children measured
  std::uint64_t shared_bytes = 0;
  std::size_t measured = 0;
  std::vector<ForkTimings> phases;  // of every fork and reset
};

std::string closing_line(const RunCosts& costs);

// A line for forks and one for resets: the median of each phase.
std::vector<std::string> phase_lines(const RunCosts& costs);

// The same as an object; durations in milliseconds, sizes in bytes.
nlohmann::ordered_json to_json(const RunCosts& costs);

}  // namespace spore::gtest_runner
