// What the measurements of `spore bench` have machines do, and the samples that come of it.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spore/result.h"
#include "spore/session.h"

namespace spore::cli {

// Nothing: this was not what is measured, such as a fork in the place of a reset.
template <typename T>
using Sampled = Result<std::optional<T>>;

// `count` samples, or what there is after twice as many tries if that is half of them.
template <typename T, typename Take>
Result<std::vector<T>> take_samples(std::string_view what, std::size_t count, Take take) {
  std::vector<T> samples;
  for (std::size_t tries = 0; tries < 2 * count && samples.size() < count; ++tries) {
    SPORE_ASSIGN(std::optional<T> sample, take());
    if (sample) {
      samples.push_back(std::move(*sample));
    }
  }
  if (samples.size() * 2 < count) {
    return fail(ErrorCode::kMachineEnded,
                fmt::format("measuring {}: only {} of {} tries were what is measured", what,
                            samples.size(), 2 * count));
  }
  return samples;
}

// Runs a command to its end; an Error if it fails.
Result<void> run_in(Machine& machine, std::vector<std::string> argv);

// Reads a process's output until a line of it is `word`.
Result<void> await_line(Process& process, std::string_view word);

Result<std::unique_ptr<Machine>> fork_one(Spore& spore);

// A machine that was booted, and captured once `argv` had said "ready" (at once, if it is empty).
struct Captured {
  std::shared_ptr<Spore> spore;
  std::uint32_t process = 0;
  BootTimings boot;
};
Result<Captured> boot_and_capture(Session& session, const MachineConfig& config,
                                  const std::vector<std::string>& argv);

}  // namespace spore::cli
