// Machines that test runners keep from one run to the next.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>

#include "errors.h"
#include "objects.h"
#include "spore/kept.h"
#include "values.h"

namespace spore::python {

namespace py = pybind11;

namespace {

// One that is in use, until it is closed or forgotten.
class KeptObject {
 public:
  explicit KeptObject(std::shared_ptr<KeptMachine> machine)
      : machine_(std::move(machine)), path_(machine_->path()), notes_(machine_->notes()) {}
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] py::bytes notes() const { return notes_; }
  void close() { machine_.reset(); }

 private:
  std::shared_ptr<KeptMachine> machine_;
  std::string path_;
  std::string notes_;
};

std::unique_ptr<KeptObject> find(KeptParts parts) {
  auto found = unwrap(blocking([parts = std::move(parts)] { return find_kept(parts); }));
  return found ? std::make_unique<KeptObject>(std::move(found)) : nullptr;
}

py::object info_of(const KeptInfo& kept) {
  return py::module_::import("json").attr("loads")(json_text(kept));
}

py::object keep(const SporeObject& spore, std::string label, KeptParts parts,
                const py::bytes& notes) {
  return info_of(unwrap(blocking([spore = spore.get(), label = std::move(label),
                                  parts = std::move(parts), notes = std::string(notes)] {
    return keep_machine(label, parts, notes, [&spore](const std::string& path) -> Result<void> {
      SPORE_TRY(spore->save(path, {.annotations = {}, .whole = true}));
      return {};
    });
  })));
}

py::list all() {
  py::list result;
  for (const KeptInfo& kept : unwrap(blocking([] { return kept_machines(); }))) {
    result.append(info_of(kept));
  }
  return result;
}

}  // namespace

void bind_kept(py::module_& module) {
  py::class_<KeptObject>(module, "KeptMachine",
                         "A kept machine in use: nobody removes it until it is closed.")
      .def_property_readonly("path", &KeptObject::path, "Of the spore.")
      .def_property_readonly("notes", &KeptObject::notes, "What was kept with it.")
      .def("close", &KeptObject::close);
  module.def("find_kept", &find, py::arg("parts"),
             "The machine that was kept with exactly these parts, which are all that made it, by\n"
             "names for people; None if there is none.");
  module.def("keep", &keep, py::arg("spore"), py::arg("label"), py::arg("parts"), py::arg("notes"),
             "Keeps a spore for the next run, in the cache directory. `label` says whose it is.");
  module.def("kept_digest", &kept_digest, py::arg("parts"),
             "What a machine with these parts is called: SHA-256.");
  module.def(
      "kept_limit", [] { return unwrap(kept_limit()); },
      "Bytes that all kept machines may take; 0: none is kept.");
  module.def("kept_machines", &all, "All kept machines, the one that was used last first.");
  module.def(
      "remove_kept",
      [](std::string digest) {
        return unwrap(blocking([digest = std::move(digest)] { return remove_kept(digest); }));
      },
      py::arg("digest"), "Removes a kept machine. False: it is in use, or there is none.");
  module.def(
      "engine_parts",
      [](std::string engine) {
        return unwrap(blocking([engine = std::move(engine)] { return engine_parts(engine); }));
      },
      py::arg("engine"),
      "What the machines of an engine are made from that no runner chooses: the guest's kernel,\n"
      "and Spore's own programs.");
  module.def(
      "known_digest",
      [](const py::object& path) {
        return unwrap(blocking([path = path_of(path)] { return known_digest(path); }));
      },
      py::arg("path"),
      "SHA-256 of a file that does not change, such as a root image: read once, and then known.");
}

}  // namespace spore::python
