// Spores on disk: what can be done with them without a session. Answers are dictionaries, the same
// as what --json prints.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <string>
#include <vector>

#include "errors.h"
#include "objects.h"
#include "spore/disk.h"
#include "values.h"

namespace spore::python {

namespace py = pybind11;

namespace {

// call() gives a Result of something that has a json_text().
template <typename Call>
py::object answer(Call call) {
  const std::string text = unwrap(blocking([call = std::move(call)]() -> Result<std::string> {
    SPORE_ASSIGN(const auto value, call());
    return json_text(value);
  }));
  return py::module_::import("json").attr("loads")(text);
}

py::object inspect(const py::object& path, bool verify) {
  return answer([path = path_of(path), options = InspectOptions{verify}] {
    return inspect_spore(path, options);
  });
}

py::object fork_on_disk(const py::object& path, std::uint32_t count, const py::object& out,
                        std::string name, std::map<std::string, std::string> user) {
  return answer([path = path_of(path), count, out = path_of(out),
                 options = DiskForkOptions{std::move(name), std::move(user)}] {
    return fork_spore(path, count, out, options);
  });
}

py::object diff(const py::object& left, const py::object& right) {
  return answer(
      [left = path_of(left), right = path_of(right)] { return diff_spores(left, right); });
}

py::object gc(const py::object& folder, bool remove, bool all) {
  return answer([folder = path_of(folder), options = GarbageOptions{!remove, all}] {
    return collect_garbage(folder, options);
  });
}

py::object remove(const py::object& path, bool force) {
  return answer([path = path_of(path), options = RemoveOptions{force}] {
    return remove_spore(path, options);
  });
}

// One path, or any number of them.
std::vector<std::string> paths_of(const py::object& paths) {
  if (py::isinstance<py::str>(paths) || py::hasattr(paths, "__fspath__")) {
    return {path_of(paths)};
  }
  std::vector<std::string> found;
  for (const auto& path : paths) {
    found.push_back(path_of(path));
  }
  return found;
}

py::object pack(const py::object& paths, const py::object& out, bool images) {
  return answer([paths = paths_of(paths), out = path_of(out), options = PackOptions{images}] {
    return pack_spores_to(paths, out, options);
  });
}

py::object unpack(const py::object& bundle, const py::object& folder, std::string digest) {
  return answer([bundle = path_of(bundle), folder = path_of(folder),
                 options = UnpackOptions{std::move(digest)}] {
    return unpack_bundle_file(bundle, folder, options);
  });
}

}  // namespace

void bind_disk_functions(py::module_& module) {
  module.def("inspect", &inspect, py::arg("path"), py::arg("verify") = false,
             "What a spore on disk is made of. `verify` reads and checks all of it: what is\n"
             "missing or damaged is in `bad`.");
  module.def("fork_on_disk", &fork_on_disk, py::arg("path"), py::arg("count"), py::arg("out"),
             py::kw_only(), py::arg("name") = "",
             py::arg("user") = std::map<std::string, std::string>{},
             "Makes `count` children of a spore in the new directory `out`, a manifest each. They\n"
             "need the spore where it is.");
  module.def("diff", &diff, py::arg("left"), py::arg("right"), "How two spores on disk differ.");
  module.def("gc", &gc, py::arg("folder"), py::kw_only(), py::arg("delete") = false,
             py::arg("all") = false,
             "What crashes left, and what no spore needs, below a folder. Only `delete` removes\n"
             "it. `all`: also what was written to in the last hour.");
  module.def("remove", &remove, py::arg("path"), py::kw_only(), py::arg("force") = false,
             "Removes a spore from disk, unless others near it need it (`force`: all the same).");
  module.def("pack", &pack, py::arg("paths"), py::arg("out"), py::kw_only(),
             py::arg("images") = true,
             "Packs spores of one tree, with all that they need, into the new file `out`.");
  module.def("unpack", &unpack, py::arg("bundle"), py::arg("folder"), py::kw_only(),
             py::arg("digest") = "",
             "Unpacks a bundle into the new directory `folder`, after checking all of it.\n"
             "`digest`: refuse another bundle than that one.");
}

}  // namespace spore::python
