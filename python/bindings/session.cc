// spore.Session, and the functions that need no session.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "errors.h"
#include "objects.h"
#include "spore/image.h"
#include "spore/session.h"
#include "values.h"
#include "waiting.h"

namespace spore::python {

namespace py = pybind11;

namespace {

class SessionObject {
 public:
  explicit SessionObject(std::shared_ptr<Session> session)
      : session_(std::move(session)), engine_(session_->engine()) {}
  SessionObject(const SessionObject&) = delete;
  SessionObject& operator=(const SessionObject&) = delete;
  ~SessionObject() { drop(session_); }

  [[nodiscard]] const std::string& engine() const { return engine_; }

  MachineObject boot(MachineConfig config, Milliseconds timeout) {
    if (!session_) {
      throw_error(Error(ErrorCode::kInvalidArgument, "booting a machine: the session is closed"));
    }
    std::shared_ptr<Machine> machine =
        unwrap(blocking([session = session_, config = std::move(config), timeout] {
          return session->boot(config, timeout);
        }));
    return {session_, std::move(machine), machines_};
  }

  SporeObject load(std::string path, LoadOptions options) {
    if (!session_) {
      throw_error(Error(ErrorCode::kInvalidArgument, "loading a spore: the session is closed"));
    }
    std::shared_ptr<Spore> spore =
        unwrap(blocking([session = session_, path = std::move(path), options = std::move(options)] {
          return session->load(path, options);
        }));
    return {session_, std::move(spore), machines_};
  }

  // Machines, spores and processes that Python still holds keep the engine's part of the session
  // alive, so closing ends each machine itself.
  void close() {
    std::vector<std::shared_ptr<Machine>> machines;
    for (const auto& entry : *machines_) {
      if (auto machine = entry.lock()) {
        machines.push_back(std::move(machine));
      }
    }
    machines_->clear();
    blocking([machines = std::move(machines)] {
      for (const auto& machine : machines) {
        machine->close();
      }
    });
    drop(session_);
  }

 private:
  std::shared_ptr<Session> session_;
  std::string engine_;
  std::shared_ptr<MachineList> machines_ = std::make_shared<MachineList>();
};

std::unique_ptr<SessionObject> open(std::string engine, const py::object& progress) {
  SessionOptions options{std::move(engine), progress_function(progress)};
  return std::make_unique<SessionObject>(
      unwrap(blocking([options = std::move(options)] { return open_session(options); })));
}

MachineObject boot(SessionObject& self, std::uint64_t memory, std::uint32_t cpus,
                   std::string kernel, const py::iterable& images, std::string hostname,
                   double timeout) {
  MachineConfig config;
  config.memory_bytes = memory;
  config.cpus = cpus;
  config.kernel = std::move(kernel);
  config.hostname = std::move(hostname);
  for (const auto& image : images) {
    config.images.push_back(path_of(image));
  }
  return self.boot(std::move(config), to_milliseconds(timeout).value_or(Milliseconds::max()));
}

SporeObject load(SessionObject& self, const py::object& path, std::string kernel, bool flat) {
  return self.load(path_of(path), {std::move(kernel), flat});
}

std::vector<std::string> paths_of(const py::iterable& entries) {
  std::vector<std::string> paths;
  for (const auto& entry : entries) {
    paths.push_back(path_of(entry));
  }
  return paths;
}

Image build(const py::iterable& paths, const py::iterable& mounts, const py::iterable& programs,
            const py::iterable& pythons, std::vector<std::string> excludes, bool base_system,
            std::uint64_t archive_up_to, const py::object& progress) {
  ImageSpec spec;
  spec.paths = paths_of(paths);
  for (const auto& mount : mounts) {
    const auto [source, target] = py::cast<std::pair<py::object, py::object>>(mount);
    spec.mounts.push_back({path_of(source), path_of(target)});
  }
  spec.programs = paths_of(programs);
  spec.pythons = paths_of(pythons);
  spec.excludes = std::move(excludes);
  spec.base_system = base_system;
  spec.archive_up_to = archive_up_to;
  return unwrap(blocking([spec = std::move(spec), tell = progress_function(progress)] {
    return build_image(spec, tell);
  }));
}

}  // namespace

void bind_session(py::module_& module) {
  py::class_<SessionObject>(module, "Session", "Where machines run, and all machines in it.")
      .def_static(
          "open", &open, py::kw_only(), py::arg("engine") = "auto",
          py::arg("progress") = py::none(),
          "Opens a session with an engine: auto, kvm or nest. `progress` is told what slow\n"
          "steps are doing.")
      .def("boot", &boot, py::kw_only(), py::arg("memory") = 512 * kMiB, py::arg("cpus") = 1,
           py::arg("kernel") = "", py::arg("images") = py::tuple(), py::arg("hostname") = "spore",
           py::arg("timeout") = 120.0,
           "Boots a machine and waits until its agent answers. `memory` is in bytes; `images` are\n"
           "stacked, the lowest first.")
      .def("load", &load, py::arg("path"), py::kw_only(), py::arg("kernel") = "",
           py::arg("flat") = true,
           "A spore that was saved, here or on another host. Refuses what this host cannot let go\n"
           "on, and what is not as it was written. `kernel`: refuse a spore of another kernel.")
      .def_property_readonly("engine", &SessionObject::engine, "The engine in use: kvm or nest.")
      .def("close", &SessionObject::close, "Closes all that is left of its machines.")
      .def("__enter__", [](py::object self) { return self; })
      .def("__exit__", [](SessionObject& self, const py::args&) { self.close(); });

  module.def(
      "build_image", &build, py::kw_only(), py::arg("paths") = py::tuple(),
      py::arg("mounts") = py::tuple(), py::arg("programs") = py::tuple(),
      py::arg("pythons") = py::tuple(), py::arg("excludes") = std::vector<std::string>{},
      py::arg("base_system") = false, py::arg("archive_up_to") = 0,
      py::arg("progress") = py::none(),
      "Builds a root image, or finds it in the cache. `paths` are at the same place in the\n"
      "guest, `mounts` are (host path, guest path) pairs, `programs` and `pythons` come with\n"
      "all that they load, `excludes` are patterns of host paths to leave out. What takes no\n"
      "more than `archive_up_to` bytes in memory becomes a tar archive, for a machine that is up.");
  module.def(
      "probe_engines", [] { return blocking([] { return probe_engines(); }); },
      "Probes every engine, in the order in which auto tries them.");
}

}  // namespace spore::python
