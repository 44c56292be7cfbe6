#include "waiting.h"

#include <pybind11/pybind11.h>

#include <algorithm>
#include <string>

#include "blocking.h"

namespace spore::python {

namespace py = pybind11;

namespace {

constexpr double kLongest = 365.0 * 24 * 3600;

}  // namespace

std::optional<Milliseconds> to_milliseconds(std::optional<double> seconds) {
  if (!seconds || !(*seconds < kLongest)) {
    return std::nullopt;
  }
  return Milliseconds(static_cast<Milliseconds::rep>(std::max(*seconds, 0.0) * 1000));
}

Deadline::Deadline(std::optional<double> seconds) {
  if (const auto wait = to_milliseconds(seconds)) {
    end_ = std::chrono::steady_clock::now() + *wait;
  }
}

std::optional<Milliseconds> Deadline::left() const {
  if (!end_) {
    return std::nullopt;
  }
  const auto left = *end_ - std::chrono::steady_clock::now();
  return std::max(std::chrono::duration_cast<Milliseconds>(left), Milliseconds{0});
}

std::optional<ProcessEvent> next_event(const std::shared_ptr<Process>& process,
                                       std::optional<Milliseconds> timeout) {
  if (!is_main_thread()) {
    const py::gil_scoped_release release;
    return process->next_event(timeout);
  }
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    Milliseconds slice = kSignalSlice;
    if (timeout) {
      const auto passed =
          std::chrono::duration_cast<Milliseconds>(std::chrono::steady_clock::now() - start);
      slice = std::clamp(*timeout - passed, Milliseconds{0}, slice);
    }
    std::optional<ProcessEvent> event;
    {
      const py::gil_scoped_release release;
      event = process->next_event(slice);
    }
    if (event || (timeout && slice < kSignalSlice)) {
      return event;
    }
    check_signals();
  }
}

Error lost_error(std::uint32_t id, const Lost& lost) {
  return Error(ErrorCode::kMachineEnded,
               "waiting for process " + std::to_string(id) + ": the machine ended (" +
                   std::string(to_string(lost.end.reason)) + "): " + lost.end.detail);
}

}  // namespace spore::python
