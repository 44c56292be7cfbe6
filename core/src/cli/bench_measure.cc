#include "cli/bench_measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "cli/bench_guest.h"
#include "cli/command.h"
#include "image/subprocess.h"
#include "spore/image.h"
#include "spore/session.h"

namespace spore::cli {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kForks = 20;
constexpr std::size_t kResets = 30;
constexpr std::size_t kCaptures = 5;
constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kDirtyShare = 8;  // of the RAM at most one in so many is dirtied
constexpr std::chrono::seconds kPythonTimeout{30};

// A child answers a line with a line, with imports behind it that no test wants to wait for again.
constexpr const char* kPythonScript = R"(
import argparse, collections, json, logging, re, subprocess, sys, tempfile, unittest
print("ready", flush=True)
while sys.stdin.readline():
    print("x", flush=True)
)";

struct Bench {
  const BenchOptions& options;
  Session& session;
  MachineConfig config;
  BenchReport report;

  [[nodiscard]] std::size_t count(std::size_t whole, std::size_t quick) const {
    return options.quick ? quick : whole;
  }
  void add(std::string name, double value, std::string unit, std::string note = {}) {
    report.rows.push_back({std::move(name), value, std::move(unit), std::move(note), {}});
  }
  void skip(std::string name, std::string why) {
    report.rows.push_back({std::move(name), std::nullopt, {}, "skipped: " + std::move(why), {}});
  }
};

double since_us(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count();
}

struct TimedFork {
  double us = 0;
  ForkTimings timings;
};

TimedFork timed(const ForkTimings& timings) {
  return {static_cast<double>(timings.build_us + timings.agent_us + timings.user_us), timings};
}

void add_forks(Bench& bench, const std::string& name, const std::vector<TimedFork>& forks,
               const std::string& note) {
  const auto median_of = [&](const auto& value) {
    std::vector<double> values(forks.size());
    std::transform(forks.begin(), forks.end(), values.begin(), value);
    return median(std::move(values));
  };
  bench.add(name, median_of([](const TimedFork& fork) { return fork.us; }), "us", note);
  for (const ForkPhase& phase : kForkPhases) {
    const double us = median_of(
        [&](const TimedFork& fork) { return static_cast<double>(fork.timings.*phase.us); });
    bench.report.rows.push_back({name, us, "us", {}, std::string(phase.name)});
  }
}

Result<void> measure_forks(Bench& bench, Spore& spore) {
  show_progress("measuring forks");
  {
    SPORE_ASSIGN(const auto first, fork_one(spore));
    add_forks(bench, "first fork of a spore", {timed(first->fork_timings())}, "no used shell yet");
  }
  std::vector<TimedFork> forks;
  std::size_t resets = 0;
  while (forks.size() < kForks) {
    SPORE_ASSIGN(const auto machine, fork_one(spore));
    forks.push_back(timed(machine->fork_timings()));
    resets += machine->fork_timings().reset ? 1 : 0;
    machine->close();
  }
  add_forks(bench, "fork", forks,
            fmt::format("median of {}, each then closed; {} in a used shell", kForks, resets));
  return {};
}

ResetSample reset_sample(const ForkTimings& timings) {
  return {static_cast<double>(timings.pages_copied), static_cast<double>(timings.build_us)};
}

// A process that fills a file in memory. Not with zeros: a page that is as it was costs no copy.
std::vector<std::string> dirtying_command(std::uint64_t pages) {
  return {"sh", "-c", fmt::format("yes | head -c {} > /dev/shm/dirt", pages * kPageBytes)};
}

Result<void> measure_resets(Bench& bench, Spore& spore) {
  show_progress("measuring resets");
  SPORE_ASSIGN(auto machine, fork_one(spore));
  const auto reset = [&]() -> Sampled<TimedFork> {
    const auto start = SteadyClock::now();
    SPORE_ASSIGN(machine, spore.reset(*machine, {}));
    const double us = since_us(start);
    if (!machine->fork_timings().reset) {
      return std::nullopt;  // it was replaced by a fork
    }
    return TimedFork{us, machine->fork_timings()};
  };
  SPORE_ASSIGN(const auto resets, take_samples<TimedFork>("resets", kResets, reset));
  add_forks(bench, "reset", resets,
            fmt::format("median of {}, from the order to the next machine", resets.size()));
  return {};
}

Result<void> add_reset_cost(Bench& bench, const std::vector<double>& anew) {
  const auto cost = fit_reset_cost(bench.report.samples);
  if (!cost) {
    return fail(ErrorCode::kInternal,
                "measuring resets of dirty memory: all of them copied the same number of pages");
  }
  bench.report.reset = *cost;
  const auto [least, most] = std::minmax_element(
      bench.report.samples.begin(), bench.report.samples.end(),
      [](const ResetSample& a, const ResetSample& b) { return a.pages < b.pages; });
  // Said with its range: where pages that lie scattered cost more than those of a large file, what
  // the start of a process dirtied is in the fixed part.
  bench.add("reset, fixed cost", cost->fixed_us, "us",
            fmt::format("until the vCPUs may run; fitted to {} resets of {} to {} pages",
                        bench.report.samples.size(), least->pages, most->pages));
  bench.add("reset, per dirty page", cost->per_page_us, "us");
  if (!anew.empty()) {
    bench.add("reset, RAM mapped anew", median(anew), "us",
              fmt::format("median of {}, after too many pages checked in vain", anew.size()));
  }
  return {};
}

// Over several amounts of memory that a process dirtied between resets. From small to large: what
// was once written is compared at each reset that follows.
Result<void> measure_reset_cost(Bench& bench, Spore& spore) {
  const std::vector<std::uint64_t> sizes =
      bench.options.quick ? std::vector<std::uint64_t>{0, 1024, 4096}
                          : std::vector<std::uint64_t>{0, 256, 1024, 4096, 16384};
  const std::uint64_t most = bench.options.memory_bytes / kDirtyShare / kPageBytes;
  std::vector<double> anew;
  SPORE_ASSIGN(auto machine, fork_one(spore));
  for (const std::uint64_t pages : sizes) {
    if (pages > most) {
      break;
    }
    show_progress(fmt::format("measuring resets of {} pages", pages));
    const auto sample = [&]() -> Sampled<ResetSample> {
      SPORE_TRY(run_in(*machine, dirtying_command(pages)));
      SPORE_ASSIGN(machine, spore.reset(*machine, {}));
      const ForkTimings& timings = machine->fork_timings();
      if (!timings.reset) {
        return std::nullopt;
      }
      if (timings.pages_checked == 0) {
        anew.push_back(static_cast<double>(timings.build_us));
        return std::nullopt;  // no page was put back: another cost than this line's
      }
      return reset_sample(timings);
    };
    SPORE_ASSIGN(const auto samples,
                 take_samples<ResetSample>("resets of dirty memory", bench.count(10, 5), sample));
    bench.report.samples.insert(bench.report.samples.end(), samples.begin(), samples.end());
  }
  return add_reset_cost(bench, anew);
}

Result<void> measure_row(Bench& bench, Spore& spore) {
  const std::size_t whole = bench.session.engine() == "nest" ? 100 : 1000;
  const std::size_t count = bench.count(whole, 50);
  show_progress(fmt::format("forking {} in a row", count));
  const auto start = SteadyClock::now();
  for (std::size_t i = 0; i < count; ++i) {
    SPORE_ASSIGN(const auto machine, fork_one(spore));
    machine->close();
  }
  const double us = since_us(start);
  bench.add(fmt::format("{} forks in a row", count), us / 1e6, "s", "each then closed");
  bench.add("forks in a row, each", us / 1e3 / static_cast<double>(count), "ms");
  return {};
}

Result<void> measure_crowd(Bench& bench, Spore& spore) {
  const auto count = static_cast<std::uint32_t>(bench.count(100, 16));
  show_progress(fmt::format("keeping {} machines alive", count));
  const auto start = SteadyClock::now();
  SPORE_ASSIGN(const auto machines, spore.fork(count));
  const double us = since_us(start);
  std::vector<double> kib;
  for (const auto& machine : machines) {
    SPORE_ASSIGN(const MachineStats stats, machine->stats());
    kib.push_back(static_cast<double>(stats.private_bytes) / 1024);
  }
  bench.add(fmt::format("{} alive at once", count), us / 1e3, "ms", "to fork them all");
  bench.add("alive at once, private memory", median(kib), "KiB", "median of the children");
  return {};
}

// ---- Python
// -------------------------------------------------------------------------------------------

// The interpreter behind the python3 of PATH, which may be some manager's script.
Result<std::string> find_python() {
  SPORE_ASSIGN(
      const auto asked,
      image::run_command({"python3", "-c", "import sys; print(sys.executable)"}, kPythonTimeout));
  const std::string path = asked.standard_output.substr(0, asked.standard_output.find('\n'));
  if (asked.end.code != 0 || asked.end.signal != 0 || !path.starts_with('/')) {
    return fail(ErrorCode::kNotFound, "the python3 in PATH does not run");
  }
  return path;
}

Result<Image> build_python_image(const std::string& python) {
  return build_image({.pythons = {python},
                      .excludes = {"*/site-packages/*", "*/dist-packages/*"},
                      .base_system = true},
                     show_progress);
}

Result<double> time_output(Machine& machine, std::uint32_t id, SteadyClock::time_point start) {
  const auto process = machine.process(id);
  if (process == nullptr) {
    return fail(ErrorCode::kInternal, "forking a waiting Python: the child does not have it");
  }
  SPORE_TRY(process->write_stdin("\n"));
  SPORE_TRY(await_line(*process, "x"));
  return since_us(start) / 1e3;
}

Result<void> measure_waiting_python(Bench& bench, const std::string& python,
                                    const MachineConfig& config) {
  const std::vector<std::string> argv = {python, "-c", kPythonScript};
  Captured captured;
  std::unique_ptr<Machine> machine;
  // Each from a spore of a boot of its own: captures of one machine share their shells.
  const auto cold = [&]() -> Sampled<double> {
    machine.reset();
    SPORE_ASSIGN(captured, boot_and_capture(bench.session, config, argv));
    const auto start = SteadyClock::now();
    SPORE_ASSIGN(machine, fork_one(*captured.spore));
    return time_output(*machine, captured.process, start);
  };
  const auto reset = [&]() -> Sampled<double> {
    const auto start = SteadyClock::now();
    SPORE_ASSIGN(machine, captured.spore->reset(*machine, {}));
    SPORE_ASSIGN(const double ms, time_output(*machine, captured.process, start));
    if (!machine->fork_timings().reset) {
      return std::nullopt;
    }
    return ms;
  };
  SPORE_ASSIGN(const auto firsts,
               take_samples<double>("first forks of a Python", bench.count(5, 2), cold));
  SPORE_ASSIGN(const auto resets, take_samples<double>("resets of a Python", kResets, reset));
  bench.add("fork to output of a Python", median(firsts), "ms",
            fmt::format("median of {}, each the first fork of a spore", firsts.size()));
  bench.add("reset to output of a Python", median(resets), "ms",
            fmt::format("median of {}; the Python waited at the capture", resets.size()));
  return {};
}

Result<void> measure_python(Bench& bench) {
  show_progress("measuring a Python that waits");
  const auto python = find_python();
  auto image = python ? build_python_image(*python) : fail(python.error());
  if (!image) {
    bench.skip("fork to output of a Python", image.error().message());
    bench.skip("reset to output of a Python", image.error().message());
    return {};
  }
  MachineConfig config = bench.config;
  config.images = {image->path};
  return measure_waiting_python(bench, *python, config);
}

// ---- captures
// -----------------------------------------------------------------------------------------

Result<void> measure_captures(Bench& bench) {
  std::vector<std::uint64_t> sizes = {128, 512};
  if (!bench.options.quick) {
    sizes.push_back(2048);
  }
  for (const std::uint64_t mib : sizes) {
    show_progress(fmt::format("capturing {} MiB", mib));
    MachineConfig config = bench.config;
    config.memory_bytes = mib * kMiB;
    SPORE_ASSIGN(const auto machine, bench.session.boot(config));
    std::vector<double> pauses;
    const auto sample = [&]() -> Sampled<double> {
      const auto start = SteadyClock::now();
      SPORE_ASSIGN(const auto spore, machine->capture({.keep_running = true}));
      const double us = since_us(start);
      pauses.push_back(static_cast<double>(spore->timings().pause_us));
      return us / 1e3;
    };
    SPORE_ASSIGN(const auto whole, take_samples<double>("captures", kCaptures, sample));
    bench.add(fmt::format("capture of {} MiB", mib), median(whole), "ms",
              fmt::format("median of {}, with the freeze", whole.size()));
    bench.add(fmt::format("capture of {} MiB, pause", mib), median(pauses), "us");
  }
  return {};
}

Result<void> measure_spore(Bench& bench) {
  show_progress("booting a machine");
  SPORE_ASSIGN(const auto captured, boot_and_capture(bench.session, bench.config, {}));
  const BootTimings& boot = captured.boot;
  bench.add("boot to agent", static_cast<double>(boot.build_us + boot.agent_ready_us) / 1e3, "ms",
            fmt::format("{} MiB, 1 CPU", bench.config.memory_bytes / kMiB));
  SPORE_TRY(measure_forks(bench, *captured.spore));
  SPORE_TRY(measure_resets(bench, *captured.spore));
  SPORE_TRY(measure_reset_cost(bench, *captured.spore));
  SPORE_TRY(measure_row(bench, *captured.spore));
  return measure_crowd(bench, *captured.spore);
}

}  // namespace

Result<BenchReport> run_bench(const BenchOptions& options) {
  SPORE_ASSIGN(const Image image,
               build_image({.programs = {"yes", "head"}, .base_system = true}, show_progress));
  SPORE_ASSIGN(const auto session,
               open_session({.engine = options.engine, .progress = show_progress}));
  Bench bench{options, *session, {}, {}};
  bench.config.memory_bytes = options.memory_bytes;
  bench.config.images = {image.path};
  bench.report.engine = session->engine();
  SPORE_TRY(measure_spore(bench));
  SPORE_TRY(measure_python(bench));
  SPORE_TRY(measure_captures(bench));
  return std::move(bench.report);
}

}  // namespace spore::cli
