// `spore create`: a machine that goes on by itself.
#include <fmt/format.h>

#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cli/json_output.h"
#include "cli/machines/launch.h"
#include "cli/machines/registry.h"
#include "cli/machines/verbs/description.h"
#include "cli/machines/verbs/verbs.h"
#include "cli/root_images.h"
#include "cli/run_arguments.h"
#include "spore/image.h"

namespace spore::cli::machines {
namespace {

struct CreateOptions {
  std::string name;
  std::string memory = "512M";
  std::uint32_t cpus = 1;
  std::string kernel;
  std::vector<std::string> roots;
  std::vector<std::string> mounts;
  std::string engine = "auto";
  std::string hostname;
  bool json = false;
};

Result<CreateOrder> order_of(const CreateOptions& options) {
  CreateOrder order{options.name, options.engine, {}};
  MachineConfig& config = order.config;
  SPORE_ASSIGN(config.memory_bytes, parse_memory(options.memory));
  config.cpus = options.cpus;
  if (!options.kernel.empty()) {
    config.kernel = std::filesystem::absolute(options.kernel).string();
  }
  config.hostname = options.hostname.empty() ? options.name : options.hostname;
  if (options.roots.empty()) {
    SPORE_ASSIGN(Image image, build_image({.base_system = true}, show_progress));
    config.images.push_back(std::move(image.path));
  }
  SPORE_TRY(add_root_images(options.roots, options.mounts, config.images));
  return order;
}

Result<Entry> create(const CreateOptions& options) {
  SPORE_TRY(check_name(options.name));
  SPORE_ASSIGN(const Registry registry, Registry::open());
  SPORE_ASSIGN(const CreateOrder order, order_of(options));
  return create_machine(registry, order, show_progress);
}

int run(const CreateOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  end_on_signals();
  const auto entry = create(options);
  if (!entry) {
    return report(entry.error(), options.json);
  }
  if (options.json) {
    print_json(to_json(*entry));
  } else {
    fmt::print("{}\n", entry->name);
  }
  return 0;
}

}  // namespace

void add_create_command(CLI::App& app, Context& context) {
  CLI::App* create = app.add_subcommand("create", "Boot a machine that stays, under a name");
  auto options = std::make_shared<CreateOptions>();
  create->add_option("name", options->name, "Its name: a-z, 0-9, '.', '_' and '-'")->required();
  create->add_option("-m,--memory", options->memory, "The machine's RAM (default 512M)");
  create->add_option("-c,--cpus", options->cpus, "Its CPUs, 1 to 8")->check(CLI::Range(1, 8));
  create->add_option("-k,--kernel", options->kernel,
                     "A bzImage or vmlinux (default: the newest in /boot)");
  create
      ->add_option("--root", options->roots,
                   "A directory or an image to be its root; several are stacked, the lowest first "
                   "(default: a small userland)")
      ->allow_extra_args(false);
  create
      ->add_option("--mount", options->mounts,
                   "DIR or DIR:GUESTPATH, a copy of a directory; writes stay in the machine")
      ->allow_extra_args(false);
  add_engine_option(*create, options->engine);
  create->add_option("--hostname", options->hostname, "Its host name (default: its name)");
  create->add_flag("--json", options->json, "Print the machine as a JSON object");
  create->footer(std::string("It runs until `spore rm -f NAME`, or until its guest powers off.\n") +
                 kStatusFooter + "Example:\n  spore create web --memory 1G --mount data");
  create->callback([options, &context] { context.status = run(*options); });
}

}  // namespace spore::cli::machines
