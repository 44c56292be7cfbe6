// `spore cp`: files and directories into a machine and out of it.
#include <fmt/format.h>

#include <clocale>
#include <csignal>
#include <memory>
#include <string>

#include "cli/json_output.h"
#include "cli/machines/copy.h"
#include "cli/machines/copy_paths.h"
#include "cli/machines/monitor_client.h"
#include "cli/machines/verbs/verbs.h"

namespace spore::cli::machines {
namespace {

struct CpOptions {
  std::string source;
  std::string target;
  bool json = false;
};

Result<CopyCount> copy(const CpOptions& options) {
  SPORE_ASSIGN(const CopyEnd source, parse_copy_end(options.source));
  SPORE_ASSIGN(const CopyEnd target, parse_copy_end(options.target));
  if (source.machine.empty() == target.machine.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("copying {} to {}: one of them, and only one, is to be in a machine: "
                            "NAME:PATH",
                            options.source, options.target));
  }
  SPORE_ASSIGN(const Registry registry, Registry::open());
  const std::string& machine = source.machine.empty() ? target.machine : source.machine;
  const StartProcess start = [&](const ExecRequest& request) -> Result<std::shared_ptr<Process>> {
    SPORE_ASSIGN(MonitorClient client, MonitorClient::connect(registry, machine));
    return client.exec(request);
  };
  // A program that the guest does not have is one thing, a machine that there is not another.
  SPORE_TRY(MonitorClient::connect(registry, machine));
  return source.machine.empty() ? copy_to_guest(start, source.path, target.path)
                                : copy_from_guest(start, source.path, target.path);
}

int run(const CpOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  end_on_signals();
  std::setlocale(LC_CTYPE, "C.UTF-8");  // tar may name files in UTF-8
  const auto copied = copy(options);
  if (!copied) {
    return report(copied.error(), options.json);
  }
  if (copied->skipped != 0) {
    fmt::print(stderr, "spore: {} devices, pipes or sockets were not copied\n", copied->skipped);
  }
  if (options.json) {
    print_json(
        {{"entries", copied->entries}, {"bytes", copied->bytes}, {"skipped", copied->skipped}});
  }
  return 0;
}

}  // namespace

void add_cp_command(CLI::App& app, Context& context) {
  CLI::App* cp = app.add_subcommand("cp", "Copy files into a machine or out of it");
  auto options = std::make_shared<CpOptions>();
  cp->add_option("source", options->source, "PATH of this host, or NAME:PATH")->required();
  cp->add_option("target", options->target, "NAME:PATH, or PATH of this host")->required();
  cp->add_flag("--json", options->json, "Print what was copied as a JSON object");
  cp->footer(
      std::string("A source goes into a directory that is there, and becomes a name that is not. "
                  "SOURCE/. is\nwhat is in a directory. Modes and times are kept; in the machine "
                  "all belongs to root, here\nto you. The guest needs sh and tar.\n") +
      kStatusFooter + "Examples:\n  spore cp data web:/srv\n  spore cp web:/var/log/. logs");
  cp->callback([options, &context] { context.status = run(*options); });
}

}  // namespace spore::cli::machines
