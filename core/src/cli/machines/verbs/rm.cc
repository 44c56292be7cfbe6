// `spore rm`: ends machines and removes them; removes spores on disk.
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "cli/json_output.h"
#include "cli/machines/removal.h"
#include "cli/machines/verbs/verbs.h"
#include "spore/disk.h"

namespace spore::cli::machines {
namespace {

struct RmOptions {
  std::vector<std::string> names;
  bool force = false;
  bool json = false;
};

// A path, where a name is not: "./warm", "spores/warm"; or a directory that holds a spore, when no
// machine has that name.
bool is_spore(const Registry& registry, const std::string& name) {
  if (name.find('/') != std::string::npos) {
    return true;
  }
  std::error_code error;
  return !registry.find(name) && std::filesystem::exists(name + "/manifest.json", error);
}

Result<void> remove(const Registry& registry, const std::string& name, bool force) {
  if (!is_spore(registry, name)) {
    return remove_machine(registry, name, force);
  }
  SPORE_TRY(remove_spore(name, {force}));
  return {};
}

int run(const RmOptions& options) {
  end_on_signals();
  const auto registry = Registry::open();
  if (!registry) {
    return report(registry.error(), options.json);
  }
  std::vector<std::string> removed;
  std::optional<Error> first;
  for (const std::string& name : options.names) {
    if (const auto done = remove(*registry, name, options.force); !done) {
      static_cast<void>(report(done.error()));
      first = first.value_or(done.error());
    } else {
      removed.push_back(name);
      if (!options.json) {
        fmt::print("{}\n", name);
      }
    }
  }
  if (options.json) {
    nlohmann::json document = {{"removed", removed}};
    if (first) {
      document["error"] = error_to_json(*first);
    }
    print_json(document);
  }
  return first ? kOwnError : 0;
}

}  // namespace

void add_rm_command(CLI::App& app, Context& context) {
  CLI::App* rm = app.add_subcommand("rm", "Remove machines, and spores on disk");
  auto options = std::make_shared<RmOptions>();
  rm->add_option("name", options->names, "Names of machines, directories of spores")->required();
  rm->add_flag("-f,--force", options->force,
               "End machines that run; remove spores that others are on top of");
  rm->add_flag("--json", options->json, "Print which were removed as a JSON object");
  rm->footer(std::string("Returns when nothing is left of them. Goes on with the next after an "
                         "error.\n") +
             kStatusFooter + "Examples:\n  spore rm -f web\n  spore rm ./warm");
  rm->callback([options, &context] { context.status = run(*options); });
}

}  // namespace spore::cli::machines
