// `spore rm`: ends machines and removes them.
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/json_output.h"
#include "cli/machines/removal.h"
#include "cli/machines/verbs/verbs.h"

namespace spore::cli::machines {
namespace {

struct RmOptions {
  std::vector<std::string> names;
  bool force = false;
  bool json = false;
};

int run(const RmOptions& options) {
  end_on_signals();
  const auto registry = Registry::open();
  if (!registry) {
    return report(registry.error(), options.json);
  }
  std::vector<std::string> removed;
  std::optional<Error> first;
  for (const std::string& name : options.names) {
    if (const auto done = remove_machine(*registry, name, options.force); !done) {
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
  CLI::App* rm = app.add_subcommand("rm", "Remove machines");
  auto options = std::make_shared<RmOptions>();
  rm->add_option("name", options->names, "The machines")->required();
  rm->add_flag("-f,--force", options->force, "End those that run; what is in them is lost");
  rm->add_flag("--json", options->json, "Print which were removed as a JSON object");
  rm->footer(std::string("Returns when nothing is left of them. Goes on with the next after an "
                         "error.\n") +
             kStatusFooter + "Example:\n  spore rm -f web");
  rm->callback([options, &context] { context.status = run(*options); });
}

}  // namespace spore::cli::machines
