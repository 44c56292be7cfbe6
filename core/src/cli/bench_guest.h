// What the measurements of `spore bench` have machines do, and the samples that come of it. The
// emulator under the nest loses a machine now and then: such a sample is taken again.
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

// Nothing: the emulator lost the machine.
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
                fmt::format("measuring {}: {} of {} samples in {} tries: its machines do not live "
                            "long enough; try again",
                            what, samples.size(), count, 2 * count));
  }
  return samples;
}

[[nodiscard]] bool is_lost(const Session& session, const Machine& machine);

// Runs a command to its end; an Error if it fails, nothing if the emulator lost the machine.
Sampled<Exited> run_in(const Session& session, Machine& machine, std::vector<std::string> argv);

// Reads a process's output until a line of it is `word`.
Sampled<std::string> await_line(const Session& session, Process& process, std::string_view word);

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
