// spore.Machine and spore.Spore.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "errors.h"
#include "objects.h"
#include "values.h"
#include "waiting.h"

namespace spore::python {

namespace py = pybind11;

namespace {

using Environment = std::map<std::string, std::string>;

// What a process printed, and how it ended.
struct RunResult {
  std::string out;
  std::string err;
  Exited exited;
};

ProcessObject exec(const MachineObject& self, ExecRequest request) {
  auto process = unwrap(blocking(
      [machine = self.get(), request = std::move(request)] { return machine->exec(request); }));
  return {self.session(), self.get(), std::move(process)};
}

ExecRequest plain_request(std::vector<std::string> argv, std::optional<Environment> env,
                          std::string workdir, std::string user) {
  ExecRequest request;
  request.argv = std::move(argv);
  request.env = std::move(env).value_or(Environment{});
  request.workdir = std::move(workdir);
  request.user = std::move(user);
  return request;
}

// Beside the reading of its output: neither may wait for the other.
void feed(const std::shared_ptr<Process>& process, std::string input) {
  std::thread([process, input = std::move(input)] {
    // A process that ends without reading its input is no failure.
    if (input.empty() || process->write_stdin(input)) {
      static_cast<void>(process->close_stdin());
    }
  }).detach();
}

RunResult collect(const std::shared_ptr<Process>& process, std::optional<double> timeout) {
  const Deadline deadline(timeout);
  RunResult result;
  for (;;) {
    const auto event = next_event(process, deadline.left());
    if (!event) {
      static_cast<void>(blocking([process] { return process->signal(9); }));
      throw_error(Error(ErrorCode::kTimedOut, "running process " + std::to_string(process->id()) +
                                                  ": it did not end in time, and was killed"));
    }
    if (const auto* output = std::get_if<Output>(&*event)) {
      (output->stream == OutputStream::kStderr ? result.err : result.out) += output->data;
    } else if (const auto* exited = std::get_if<Exited>(&*event)) {
      result.exited = *exited;
      return result;
    } else if (const auto* lost = std::get_if<Lost>(&*event)) {
      throw_error(lost_error(process->id(), *lost));
    } else {
      // Nobody captures a machine in the middle of run().
      unwrap(blocking([process] { return process->release_fixture_point(); }));
    }
  }
}

RunResult run(const MachineObject& self, std::vector<std::string> argv,
              std::optional<Environment> env, std::string workdir, std::string user,
              const py::bytes& input, std::optional<double> timeout) {
  const ProcessObject process = exec(
      self, plain_request(std::move(argv), std::move(env), std::move(workdir), std::move(user)));
  feed(process.get(), std::string(input));
  return collect(process.get(), timeout);
}

SporeObject capture(const MachineObject& self, bool keep_running, double timeout) {
  CaptureOptions options;
  options.keep_running = keep_running;
  if (const auto bound = to_milliseconds(timeout)) {
    options.timeout = *bound;
  }
  auto spore =
      unwrap(blocking([machine = self.get(), options] { return machine->capture(options); }));
  return {self.session(), std::move(spore), self.machines()};
}

template <typename Children>
std::vector<MachineObject> fork(const SporeObject& self, Children children) {
  auto machines = unwrap(blocking(
      [spore = self.get(), children = std::move(children)] { return spore->fork(children); }));
  std::vector<MachineObject> result;
  for (auto& machine : machines) {
    result.emplace_back(self.session(), std::move(machine), self.machines());
  }
  return result;
}

MachineObject reset(const SporeObject& self, const MachineObject& used, ForkParameters child) {
  auto machine = unwrap(blocking([spore = self.get(), used = used.get(), child = std::move(child)] {
    return spore->reset(*used, child);
  }));
  return {self.session(), std::move(machine), self.machines()};
}

SavedSpore save(const SporeObject& self, const py::object& path,
                std::map<std::string, std::string> annotations, bool flat, bool whole) {
  return unwrap(blocking([spore = self.get(), path = path_of(path),
                          options = SaveOptions{std::move(annotations), flat, whole}] {
    return spore->save(path, options);
  }));
}

void close(const MachineObject& self) {
  blocking([machine = self.get()] { machine->close(); });
}

void bind_run_result(py::module_& module) {
  py::class_<RunResult>(module, "RunResult", "What a process printed, and how it ended.")
      .def_property_readonly("stdout", [](const RunResult& self) { return text(self.out); })
      .def_property_readonly("stderr", [](const RunResult& self) { return text(self.err); })
      .def_property_readonly("stdout_bytes",
                             [](const RunResult& self) { return py::bytes(self.out); })
      .def_property_readonly("stderr_bytes",
                             [](const RunResult& self) { return py::bytes(self.err); })
      .def_property_readonly(
          "status", [](const RunResult& self) { return self.exited.status(); },
          "What a shell would say: the exit status, or 128 + signal.")
      .def_readonly("exited", &RunResult::exited)
      .def("__repr__", [](const RunResult& self) {
        return "<spore.RunResult status " + std::to_string(self.exited.status()) + ">";
      });
}

void bind_exec(py::class_<MachineObject>& machine) {
  machine
      .def(
          "exec",
          [](const MachineObject& self, std::vector<std::string> argv,
             std::optional<Environment> env, std::string workdir, std::string user, bool terminal,
             std::uint16_t rows, std::uint16_t columns, bool channel) {
            ExecRequest request =
                plain_request(std::move(argv), std::move(env), std::move(workdir), std::move(user));
            request.terminal = terminal;
            request.rows = rows;
            request.columns = columns;
            request.channel = channel;
            return exec(self, std::move(request));
          },
          py::arg("argv"), py::kw_only(), py::arg("env") = py::none(), py::arg("workdir") = "/",
          py::arg("user") = "", py::arg("terminal") = false, py::arg("rows") = 24,
          py::arg("columns") = 80, py::arg("channel") = false,
          "Starts a process. `env` is its whole environment; PATH, HOME and TERM get defaults.\n"
          "`channel` gives it a stream to this host as descriptor 3.")
      .def("run", &run, py::arg("argv"), py::kw_only(), py::arg("env") = py::none(),
           py::arg("workdir") = "/", py::arg("user") = "", py::arg("input") = py::bytes(),
           py::arg("timeout") = py::none(),
           "Runs a process to its end and collects what it prints. After `timeout` seconds it is\n"
           "killed, and TimedOut raised.")
      .def(
          "process",
          [](const MachineObject& self, std::uint32_t id) {
            auto process = self.get()->process(id);
            if (!process) {
              throw_error(Error(ErrorCode::kNotFound, "looking for process " + std::to_string(id) +
                                                          ": the machine has no such process"));
            }
            return ProcessObject(self.session(), self.get(), std::move(process));
          },
          py::arg("id"),
          "A process of this machine, or one inherited from the machine that was captured.");
}

}  // namespace

void bind_machine(py::module_& module) {
  bind_run_result(module);
  py::class_<SporeObject>(module, "Spore",
                          "A captured machine. Immutable; its children keep what they need of it.")
      .def("fork", &fork<std::uint32_t>, py::arg("children"),
           "So many machines, all running, each its own shard; or one for each ForkParameters.")
      .def("fork", &fork<std::vector<ForkParameters>>, py::arg("children"))
      .def("reset", &reset, py::arg("machine"), py::arg("child") = ForkParameters{},
           "What `machine` becomes when it is put back to this spore: a clean machine, for the\n"
           "price of what was written in the old one, which has ended then.")
      .def(
          "save", &save, py::arg("path"), py::kw_only(),
          py::arg("annotations") = std::map<std::string, std::string>{}, py::arg("flat") = true,
          py::arg("whole") = false,
          "Writes it to disk as the directory `path`, which must not exist. `flat` also keeps RAM\n"
          "as this host can map it without reading it. `whole`: it needs no other spore, though\n"
          "what it was captured on top of is on disk.")
      .def_property_readonly(
          "processes", [](const SporeObject& self) { return self.get()->processes(); },
          "Ids of the processes that lived at the capture: Machine.process() of a child.")
      .def_property_readonly(
          "loaded", [](const SporeObject& self) { return self.get()->loaded(); },
          "Where it was read from; None when it was captured in this session.")
      .def_property_readonly("generation",
                             [](const SporeObject& self) { return self.get()->generation(); })
      .def_property_readonly("timings",
                             [](const SporeObject& self) { return self.get()->timings(); });

  py::class_<MachineObject> machine(module, "Machine", "A running machine.");
  bind_exec(machine);
  machine
      .def("capture", &capture, py::kw_only(), py::arg("keep_running") = false,
           py::arg("timeout") = 60.0,
           "Freezes the machine and makes a spore of it. It is closed after that, unless\n"
           "`keep_running`.")
      .def_property_readonly("generation",
                             [](const MachineObject& self) { return self.get()->generation(); })
      .def_property_readonly(
          "ended", [](const MachineObject& self) { return self.get()->ended(); },
          "How it ended; None while it runs.")
      .def(
          "stats",
          [](const MachineObject& self) {
            return unwrap(blocking([machine = self.get()] { return machine->stats(); }));
          },
          "What it costs now.")
      .def_property_readonly(
          "console_tail",
          [](const MachineObject& self) {
            return text(blocking([machine = self.get()] { return machine->console_tail(); }));
          },
          "The last lines of its console.")
      .def_property_readonly("boot_timings",
                             [](const MachineObject& self) { return self.get()->boot_timings(); })
      .def_property_readonly("fork_timings",
                             [](const MachineObject& self) { return self.get()->fork_timings(); })
      .def("close", &close, "Ends it at once; what it has not sent is lost.")
      .def("__enter__", [](const MachineObject& self) { return self; })
      .def("__exit__", [](const MachineObject& self, const py::args&) { close(self); });
}

}  // namespace spore::python
