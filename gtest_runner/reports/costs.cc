#include "costs.h"

#include <fmt/format.h>

#include <algorithm>

namespace spore::gtest_runner {
namespace {

template <typename Value>
double median(const std::vector<const ForkTimings*>& timings, Value value) {
  std::vector<double> values;
  for (const ForkTimings* one : timings) {
    values.push_back(static_cast<double>(value(*one)));
  }
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double median_ms(const std::vector<const ForkTimings*>& timings, const ForkPhase& phase) {
  return median(timings, [&](const ForkTimings& one) { return one.*phase.us; }) / 1000;
}

double median_pages(const std::vector<const ForkTimings*>& timings) {
  return median(timings, [](const ForkTimings& one) { return one.pages_copied; });
}

std::vector<const ForkTimings*> of_kind(const RunCosts& costs, bool reset) {
  std::vector<const ForkTimings*> timings;
  for (const ForkTimings& one : costs.phases) {
    if (one.reset == reset) {
      timings.push_back(&one);
    }
  }
  return timings;
}

}  // namespace

std::string closing_line(const RunCosts& costs) {
  std::string text;
  if (costs.resume_s > 0) {
    text =
        fmt::format("went on from the kept machine in {:.2f} s ({})", costs.resume_s, costs.engine);
  } else {
    text = fmt::format("booted once in {:.2f} s ({})", costs.boot_s, costs.engine);
    if (costs.setup_s > 0) {
      text += fmt::format(", set up once in {:.2f} s", costs.setup_s);
    }
    text += fmt::format(", captured in {:.1f} ms", costs.capture_ms);
  }
  if (costs.children > 0) {
    text += fmt::format("; {} child{} forked in {:.1f} ms", costs.children,
                        costs.children == 1 ? "" : "ren", costs.fork_ms);
  }
  if (costs.suites > 0) {
    text += fmt::format(", {} suite{} set up once in {:.2f} s", costs.suites,
                        costs.suites == 1 ? "" : "s", costs.suites_s);
  }
  if (costs.resets > 0) {
    text += fmt::format(", put back {} times in {:.1f} ms each", costs.resets,
                        costs.resets_ms / static_cast<double>(costs.resets));
  }
  if (costs.children > 0) {
    text += fmt::format(", tests took {:.2f} s", costs.tests_s);
  }
  constexpr double kBytesPerMib = 1024.0 * 1024.0;
  if (costs.measured > 0) {
    const double count = static_cast<double>(costs.measured);
    text += fmt::format("; a child has {:.1f} MiB of its own and shares {:.0f} MiB",
                        static_cast<double>(costs.private_bytes) / count / kBytesPerMib,
                        static_cast<double>(costs.shared_bytes) / count / kBytesPerMib);
  }
  if (costs.kept_bytes > 0) {
    text += fmt::format("; kept for the next run: {:.0f} MiB in {:.2f} s",
                        static_cast<double>(costs.kept_bytes) / kBytesPerMib, costs.keep_s);
  }
  return text;
}

std::vector<std::string> phase_lines(const RunCosts& costs) {
  std::vector<std::string> lines;
  for (const bool reset : {false, true}) {
    const auto timings = of_kind(costs, reset);
    if (timings.empty()) {
      continue;
    }
    std::string line =
        fmt::format("{}, medians of {} in ms", reset ? "reset" : "fork", timings.size());
    char separator = ':';
    for (const ForkPhase& phase : kForkPhases) {
      line += fmt::format("{} {} {:.2f}", separator, phase.name, median_ms(timings, phase));
      separator = ',';
    }
    if (reset) {
      line += fmt::format("; {:.0f} pages put back", median_pages(timings));
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

nlohmann::ordered_json to_json(const RunCosts& costs) {
  nlohmann::ordered_json json = {{"engine", costs.engine},
                                 {"boot_ms", costs.boot_s * 1000},
                                 {"resume_ms", costs.resume_s * 1000},
                                 {"setup_ms", costs.setup_s * 1000},
                                 {"capture_ms", costs.capture_ms},
                                 {"suites", costs.suites},
                                 {"suites_ms", costs.suites_s * 1000},
                                 {"children", costs.children},
                                 {"resets", costs.resets},
                                 {"fork_ms", costs.fork_ms},
                                 {"reset_ms", costs.resets_ms},
                                 {"tests_ms", costs.tests_s * 1000},
                                 {"private_bytes", costs.private_bytes},
                                 {"shared_bytes", costs.shared_bytes}};
  for (const bool reset : {false, true}) {
    const auto timings = of_kind(costs, reset);
    if (timings.empty()) {
      continue;
    }
    auto& phases = json[reset ? "reset_phases" : "fork_phases"];
    phases["count"] = timings.size();
    for (const ForkPhase& phase : kForkPhases) {
      phases[std::string(phase.name) + "_ms"] = median_ms(timings, phase);
    }
    if (reset) {
      phases["pages_copied"] = median_pages(timings);
    }
  }
  return json;
}

}  // namespace spore::gtest_runner
