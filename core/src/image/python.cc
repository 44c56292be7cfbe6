#include "image/python.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <vector>

#include "image/subprocess.h"

namespace spore::image {
namespace {

constexpr std::chrono::seconds kTimeout{60};
// The answer is searched for behind this line, because site hooks may print too.
constexpr std::string_view kMarker = "spore-python-environment:";

// sys.path has what .pth files add already. An editable install through an import hook shows only
// in its direct_url.json (PEP 610).
constexpr const char* kQuestion = R"(
import importlib.metadata, json, os, site, sys, sysconfig, urllib.parse, urllib.request
editable = []
for distribution in importlib.metadata.distributions():
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        url = urllib.parse.urlsplit(origin.get("url", ""))
        if url.scheme == "file" and origin.get("dir_info", {}).get("editable"):
            editable.append(urllib.request.url2pathname(url.path))
    except (OSError, ValueError, AttributeError):
        pass
libraries = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
libraries += site.getsitepackages()
if site.ENABLE_USER_SITE:
    libraries.append(site.getusersitepackages())
print("spore-python-environment:" + json.dumps({
    "executable": sys.executable, "base_executable": getattr(sys, "_base_executable", ""),
    "prefixes": [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix],
    "libraries": libraries, "path": [entry for entry in sys.path if entry], "editable": editable}))
)";

// A prefix that holds a whole system is not taken whole.
bool is_system_prefix(const std::string& prefix) {
  return prefix == "/" || prefix == "/usr" || prefix == "/usr/local";
}

bool exists(const std::string& path) {
  return path.starts_with('/') && ::access(path.c_str(), F_OK) == 0;
}

bool is_extension_module(std::string_view path) {
  const auto slash = path.rfind('/');
  const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  return name.ends_with(".so") || name.find(".so.") != std::string_view::npos;
}

struct Environment {
  std::vector<std::string> executables;
  std::set<std::string> directories;
};

Result<Environment> parse_answer(const std::string& output) {
  const auto at = output.rfind(kMarker);
  const auto answer = at == std::string::npos
                          ? nlohmann::json()
                          : nlohmann::json::parse(output.substr(at + kMarker.size()), nullptr,
                                                  /*allow_exceptions=*/false);
  const auto strings = [&](const char* key) {
    std::vector<std::string> found;
    if (answer.is_object() && answer.contains(key) && answer[key].is_array()) {
      for (const auto& item : answer[key]) {
        if (item.is_string()) {
          found.push_back(item.get<std::string>());
        }
      }
    }
    return found;
  };
  Environment environment;
  for (const char* key : {"executable", "base_executable"}) {
    if (answer.is_object() && answer.contains(key) && answer[key].is_string() &&
        exists(answer[key].get<std::string>())) {
      environment.executables.push_back(answer[key].get<std::string>());
    }
  }
  for (const std::string& prefix : strings("prefixes")) {
    if (!is_system_prefix(prefix)) {
      environment.directories.insert(prefix);
    }
  }
  for (const char* key : {"libraries", "path", "editable"}) {
    for (const std::string& directory : strings(key)) {
      if (directory != "/") {
        environment.directories.insert(directory);
      }
    }
  }
  if (environment.executables.empty() || environment.directories.empty()) {
    return fail(ErrorCode::kInvalidArgument, "it does not answer like a Python 3.8 or newer");
  }
  return environment;
}

Result<Environment> ask(const std::string& interpreter) {
  SPORE_ASSIGN(const CommandOutput output,
               run_command({interpreter, "-B", "-c", kQuestion}, kTimeout));
  if (output.end.code != 0 || output.end.signal != 0) {
    std::string said = output.standard_error;
    while (said.ends_with('\n')) {
      said.pop_back();
    }
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("it failed: {}", said.substr(said.rfind('\n') + 1)));
  }
  return parse_answer(output.standard_output);
}

}  // namespace

Result<void> add_python(const std::string& name, Tree& tree, Closure& closure) {
  SPORE_ASSIGN(const std::string interpreter, find_program(name));
  auto environment = ask(interpreter);
  if (!environment) {
    return fail(environment.error().with_context(
        fmt::format("ask {} for its Python environment", interpreter)));
  }
  environment->executables.push_back(interpreter);
  for (const std::string& program : environment->executables) {
    if (tree.never_holds(program)) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("pack {}: it is in Spore's cache directory, which no image holds; "
                              "install the environment elsewhere",
                              program));
    }
    SPORE_TRY(closure.add_program(program));
  }
  for (const std::string& directory : environment->directories) {
    if (exists(directory)) {
      SPORE_TRY(tree.add(directory));
      SPORE_TRY(tree.add_following(std::filesystem::canonical(directory).string()));
    }
  }
  for (const auto& [path, entry] : tree.entries()) {
    if (S_ISREG(entry.status.st_mode) && is_extension_module(path) && !entry.source.empty()) {
      closure.add_library(entry.source);
    }
  }
  // What the standard library and the C library load by themselves.
  for (const char* path :
       {"/usr/share/zoneinfo", "/etc/localtime", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
        "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/usr/lib/ssl",
        "/usr/lib/locale/C.utf8", "/etc/mime.types"}) {
    SPORE_TRY(tree.add_if_there(path));
  }
  return {};
}

}  // namespace spore::image
