// Plain values of the public API as read-only Python objects.
#include "values.h"

#include <pybind11/stl.h>

#include <string>

#include "blocking.h"
#include "spore/disk.h"
#include "spore/image.h"
#include "spore/machine.h"
#include "spore/session.h"

namespace spore::python {

namespace py = pybind11;

namespace {

std::string stream_name(OutputStream stream) {
  switch (stream) {
    case OutputStream::kStdout:
      return "stdout";
    case OutputStream::kStderr:
      return "stderr";
    case OutputStream::kChannel:
      return "channel";
  }
  return "unknown";
}

void bind_generation(py::module_& module) {
  py::class_<ForkParameters>(module, "ForkParameters", "Who a forked machine is.")
      .def(py::init([](std::uint32_t child_index, std::uint32_t child_count,
                       std::uint32_t shard_index, std::uint32_t shard_count, std::string name,
                       std::string hostname, std::map<std::string, std::string> user) {
             return ForkParameters{child_index,    child_count,     shard_index,
                                   shard_count,    std::move(name), std::move(hostname),
                                   std::move(user)};
           }),
           py::kw_only(), py::arg("child_index") = 0, py::arg("child_count") = 1,
           py::arg("shard_index") = 0, py::arg("shard_count") = 1, py::arg("name") = "",
           py::arg("hostname") = "", py::arg("user") = std::map<std::string, std::string>{})
      .def_readonly("child_index", &ForkParameters::child_index)
      .def_readonly("child_count", &ForkParameters::child_count)
      .def_readonly("shard_index", &ForkParameters::shard_index)
      .def_readonly("shard_count", &ForkParameters::shard_count)
      .def_readonly("name", &ForkParameters::name, "Empty: \"<index>\".")
      .def_readonly("hostname", &ForkParameters::hostname, "Empty: \"spore-<index>\".")
      .def_readonly("user", &ForkParameters::user, "The user's own values, at most 3 KiB in all.")
      .def("__repr__", [](const ForkParameters& self) {
        return "<spore.ForkParameters child " + std::to_string(self.child_index) + " of " +
               std::to_string(self.child_count) + ", shard " + std::to_string(self.shard_index) +
               " of " + std::to_string(self.shard_count) + ">";
      });
  py::class_<Generation>(module, "Generation", "Which generation a machine is.")
      .def_readonly("number", &Generation::number,
                    "0 for a fresh boot, else one more than its spore's.")
      .def_readonly("id", &Generation::id, "32 hexadecimal digits, different in every child.")
      .def_readonly("parent_id", &Generation::parent_id, "Of the machine that was captured.")
      .def_readonly("parameters", &Generation::parameters)
      .def("__repr__", [](const Generation& self) {
        return "<spore.Generation " + std::to_string(self.number) + " " + self.id + ">";
      });
}

void bind_measurements(py::module_& module) {
  py::class_<MachineStats>(module, "MachineStats", "What a machine costs now.")
      .def_readonly("memory_bytes", &MachineStats::memory_bytes, "The guest's RAM.")
      .def_readonly("private_bytes", &MachineStats::private_bytes,
                    "RAM that belongs to this machine alone.")
      .def_readonly("shared_bytes", &MachineStats::shared_bytes,
                    "RAM read from the spore that it was forked from.")
      .def_readonly("exits", &MachineStats::exits, "VM exits so far, of all CPUs.");
  py::class_<BootTimings>(module, "BootTimings", "How long a boot took, in microseconds.")
      .def_readonly("build_us", &BootTimings::build_us)
      .def_readonly("agent_ready_us", &BootTimings::agent_ready_us);
  py::class_<CaptureTimings>(module, "CaptureTimings", "How long a capture took, in microseconds.")
      .def_readonly("freeze_us", &CaptureTimings::freeze_us)
      .def_readonly("pause_us", &CaptureTimings::pause_us);
  py::class_<ForkTimings>(module, "ForkTimings",
                          "How long a fork or a reset took, in microseconds.")
      .def_readonly("build_us", &ForkTimings::build_us,
                    "Until its vCPUs may run: shell, memory, devices, cpus.")
      .def_readonly("shell_us", &ForkTimings::shell_us)
      .def_readonly("memory_us", &ForkTimings::memory_us)
      .def_readonly("devices_us", &ForkTimings::devices_us)
      .def_readonly("cpus_us", &ForkTimings::cpus_us)
      .def_readonly("agent_us", &ForkTimings::agent_us)
      .def_readonly("user_us", &ForkTimings::user_us)
      .def_readonly("reset", &ForkTimings::reset,
                    "In what a machine of the same spore left, put back.")
      .def_readonly("pages_checked", &ForkTimings::pages_checked)
      .def_readonly("pages_copied", &ForkTimings::pages_copied);
}

void bind_disk(py::module_& module) {
  py::class_<SavedSpore>(module, "SavedSpore", "A spore as it was written to disk.")
      .def_readonly("id", &SavedSpore::id, "SHA-256 of its manifest.")
      .def_readonly("path", &SavedSpore::path)
      .def_readonly("parent", &SavedSpore::parent,
                    "Id of the spore that it is a layer on; empty: none.")
      .def_readonly("memory_bytes", &SavedSpore::memory_bytes, "The machine's RAM.")
      .def_readonly("content_bytes", &SavedSpore::content_bytes, "Of it, what this spore stores.")
      .def_readonly("file_bytes", &SavedSpore::file_bytes, "The same, compressed.")
      .def_readonly("chunks", &SavedSpore::chunks)
      .def_readonly("ram_us", &SavedSpore::ram_us)
      .def_readonly("flat_us", &SavedSpore::flat_us)
      .def_readonly("publish_us", &SavedSpore::publish_us)
      .def("__fspath__", [](const SavedSpore& self) { return self.path; })
      .def("__repr__",
           [](const SavedSpore& self) { return "<spore.SavedSpore " + self.path + ">"; });
  py::class_<LoadedSpore>(module, "LoadedSpore", "Where a spore was read from.")
      .def_readonly("id", &LoadedSpore::id, "SHA-256 of its manifest.")
      .def_readonly("path", &LoadedSpore::path)
      .def_readonly("parent", &LoadedSpore::parent)
      .def_readonly("memory_bytes", &LoadedSpore::memory_bytes)
      .def_readonly("cpus", &LoadedSpore::cpus)
      .def_readonly("annotations", &LoadedSpore::annotations)
      .def_readonly("fork", &LoadedSpore::fork,
                    "Who its machine is to be, when it was forked on disk; else None.")
      .def_readonly("backing", &LoadedSpore::backing, "Of its RAM: flat, lazy, shared or memory.")
      .def_readonly("load_us", &LoadedSpore::load_us)
      .def("__fspath__", [](const LoadedSpore& self) { return self.path; })
      .def("__repr__",
           [](const LoadedSpore& self) { return "<spore.LoadedSpore " + self.path + ">"; });
}

void bind_events(py::module_& module) {
  py::class_<MachineEnd>(module, "MachineEnd", "How a machine ended.")
      .def_property_readonly(
          "reason", [](const MachineEnd& self) { return std::string(to_string(self.reason)); })
      .def_property_readonly(
          "detail", [](const MachineEnd& self) { return text(self.detail); }, "One sentence.")
      .def_property_readonly(
          "console_tail", [](const MachineEnd& self) { return text(self.console_tail); },
          "The last lines of the guest's console.")
      .def("__repr__", [](const MachineEnd& self) {
        return "<spore.MachineEnd " + std::string(to_string(self.reason)) + ">";
      });
  py::class_<Output>(module, "Output", "Bytes that a process wrote.")
      .def_property_readonly(
          "stream", [](const Output& self) { return stream_name(self.stream); },
          "stdout, stderr or channel.")
      .def_property_readonly("data", [](const Output& self) { return py::bytes(self.data); })
      .def("__repr__", [](const Output& self) {
        return "<spore.Output " + stream_name(self.stream) + " " +
               std::to_string(self.data.size()) + " bytes>";
      });
  py::class_<AtFixturePoint>(module, "AtFixturePoint",
                             "A process waits at its fixture point to be captured or released.");
  py::class_<Exited>(module, "Exited", "A process ended.")
      .def_readonly("code", &Exited::code, "The exit status, when signal is 0.")
      .def_readonly("signal", &Exited::signal, "The signal that ended it, or 0.")
      .def_readonly("out_of_memory", &Exited::out_of_memory)
      .def_property_readonly("status", &Exited::status,
                             "What a shell would say: code, or 128 + signal.")
      .def("__repr__", [](const Exited& self) {
        return "<spore.Exited status " + std::to_string(self.status()) + ">";
      });
  py::class_<Lost>(module, "Lost",
                   "The machine ended, or was captured to be forked, before the process did.")
      .def_readonly("end", &Lost::end);
}

}  // namespace

py::str text(std::string_view bytes) {
  PyObject* decoded =
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace");
  if (decoded == nullptr) {
    throw py::error_already_set();
  }
  return py::reinterpret_steal<py::str>(decoded);
}

std::string path_of(const py::handle& object) {
  if (py::isinstance<Image>(object)) {
    return py::cast<const Image&>(object).path;
  }
  const py::object path = py::module_::import("os").attr("fspath")(object);
  return py::cast<std::string>(path);
}

std::function<void(std::string_view)> progress_function(const py::object& callback) {
  if (callback.is_none()) {
    return {};
  }
  // Called, and dropped, by threads that do not hold the GIL.
  const std::shared_ptr<py::object> held(new py::object(callback), [](py::object* object) {
    const py::gil_scoped_acquire acquire;
    delete object;
  });
  return [held](std::string_view message) {
    const py::gil_scoped_acquire acquire;
    try {
      (*held)(text(message));
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("the progress callback of spore");
    }
  };
}

void bind_values(py::module_& module) {
  bind_generation(module);
  bind_measurements(module);
  bind_disk(module);
  bind_events(module);
  py::class_<Image>(module, "Image", "A root image in the cache.")
      .def_readonly("path", &Image::path)
      .def_readonly("digest", &Image::digest, "SHA-256 of its bytes, hexadecimal.")
      .def_readonly("bytes", &Image::bytes, "Its size.")
      .def_readonly("built", &Image::built, "False: it was in the cache.")
      .def_readonly("archive", &Image::archive, "A tar archive, and no file system.")
      .def("__fspath__", [](const Image& self) { return self.path; })
      .def("__repr__", [](const Image& self) { return "<spore.Image " + self.path + ">"; });
  py::class_<EngineReport>(module, "EngineReport", "What a probe of an engine found.")
      .def_readonly("name", &EngineReport::name)
      .def_readonly("usable", &EngineReport::usable)
      .def_property_readonly(
          "why", [](const EngineReport& self) { return text(self.why); },
          "How it was found usable, or what is missing and what would mend it.")
      .def("__repr__", [](const EngineReport& self) {
        return "<spore.EngineReport " + self.name + (self.usable ? ": usable>" : ": not usable>");
      });
}

}  // namespace spore::python
