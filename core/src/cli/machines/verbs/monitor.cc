#include <memory>
#include <string>

#include "cli/machines/monitor_main.h"
#include "cli/machines/verbs/verbs.h"

namespace spore::cli::machines {

void add_monitor_command(CLI::App& app, Context& context) {
  CLI::App* monitor = app.add_subcommand("monitor", "Own a machine that `spore create` orders");
  monitor->group("");
  auto name = std::make_shared<std::string>();  // for those who look at processes
  monitor->add_option("name", *name, "The machine's name")->required();
  monitor->callback([name, &context] { context.status = run_monitor(); });
}

}  // namespace spore::cli::machines
