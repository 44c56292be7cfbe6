// spore.Process: events, input and signals of a process in a guest.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "errors.h"
#include "objects.h"
#include "values.h"
#include "waiting.h"

namespace spore::python {

namespace py = pybind11;

namespace {

// Iterates over events; Exited or Lost is the last.
class EventIterator {
 public:
  explicit EventIterator(ProcessObject process) : process_(std::move(process)) {}

  ProcessEvent next() {
    if (over_) {
      throw py::stop_iteration();
    }
    ProcessEvent event = *next_event(process_.get(), std::nullopt);
    over_ = std::holds_alternative<Exited>(event) || std::holds_alternative<Lost>(event);
    return event;
  }

 private:
  ProcessObject process_;
  bool over_ = false;
};

Exited wait(const ProcessObject& self, std::optional<double> timeout) {
  const Deadline deadline(timeout);
  for (;;) {
    const auto event = next_event(self.get(), deadline.left());
    if (!event) {
      throw_error(Error(
          ErrorCode::kTimedOut,
          "waiting for process " + std::to_string(self.get()->id()) + ": it did not end in time"));
    }
    if (const auto* exited = std::get_if<Exited>(&*event)) {
      return *exited;
    }
    if (const auto* lost = std::get_if<Lost>(&*event)) {
      throw_error(lost_error(self.get()->id(), *lost));
    }
  }
}

using Bytes = std::string;

void bind_input(py::class_<ProcessObject>& process) {
  process
      .def(
          "write_stdin",
          [](const ProcessObject& self, const py::bytes& data) {
            unwrap(blocking([process = self.get(), bytes = Bytes(data)] {
              return process->write_stdin(bytes);
            }));
          },
          py::arg("data"), "Writes to its standard input; waits while it does not read.")
      .def(
          "close_stdin",
          [](const ProcessObject& self) {
            unwrap(blocking([process = self.get()] { return process->close_stdin(); }));
          },
          "Ends its standard input.")
      .def(
          "write_channel",
          [](const ProcessObject& self, const py::bytes& data) {
            unwrap(blocking([process = self.get(), bytes = Bytes(data)] {
              return process->write_channel(bytes);
            }));
          },
          py::arg("data"), "Writes to its descriptor 3; waits while it does not read.")
      .def(
          "close_channel",
          [](const ProcessObject& self) {
            unwrap(blocking([process = self.get()] { return process->close_channel(); }));
          },
          "Ends what it reads from descriptor 3.");
}

}  // namespace

void bind_process(py::module_& module) {
  py::class_<EventIterator>(module, "_EventIterator")
      .def("__iter__", [](EventIterator& self) -> EventIterator& { return self; })
      .def("__next__", &EventIterator::next);

  py::class_<ProcessObject> process(module, "Process", "A process in a guest.");
  process.def_property_readonly("id", [](const ProcessObject& self) { return self.get()->id(); })
      .def(
          "events", [](const ProcessObject& self) { return EventIterator(self); },
          "Iterates over what happens to it; Exited or Lost is the last event.")
      .def(
          "next_event",
          [](const ProcessObject& self, std::optional<double> timeout) {
            return next_event(self.get(), to_milliseconds(timeout));
          },
          py::arg("timeout") = py::none(),
          "The next event, waiting at most `timeout` seconds; None when they are over.")
      .def("wait", &wait, py::arg("timeout") = py::none(),
           "Waits until it ends, dropping its output. TimedOut after `timeout` seconds;\n"
           "MachineEnded if the machine ends first.")
      .def(
          "signal",
          [](const ProcessObject& self, int number) {
            unwrap(blocking([process = self.get(), number] { return process->signal(number); }));
          },
          py::arg("number"), "Sends a signal to it and all that it started.")
      .def(
          "resize",
          [](const ProcessObject& self, std::uint16_t rows, std::uint16_t columns) {
            unwrap(blocking(
                [process = self.get(), rows, columns] { return process->resize(rows, columns); }));
          },
          py::arg("rows"), py::arg("columns"), "Tells it the size of its terminal.")
      .def(
          "release_fixture_point",
          [](const ProcessObject& self) {
            unwrap(blocking([process = self.get()] { return process->release_fixture_point(); }));
          },
          "Lets it go on from its fixture point in this machine, as index 0 of 1.")
      .def("__repr__", [](const ProcessObject& self) {
        return "<spore.Process " + std::to_string(self.get()->id()) + ">";
      });
  bind_input(process);
}

}  // namespace spore::python
