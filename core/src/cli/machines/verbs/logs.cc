// `spore logs`: what a machine's console said.
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>

#include "base/files.h"
#include "cli/json_output.h"
#include "cli/machines/monitor_client.h"
#include "cli/machines/verbs/description.h"
#include "cli/machines/verbs/verbs.h"
#include "cli/process_io.h"

namespace spore::cli::machines {
namespace {

constexpr std::uint64_t kMaxConsoleLog = 16 * 1024 * 1024;

struct LogsOptions {
  std::string name;
  bool follow = false;
  bool json = false;
};

Result<void> read_console(const LogsOptions& options, const Registry& registry,
                          const std::function<bool(std::string_view)>& take) {
  SPORE_ASSIGN(const Entry entry, registry.find(options.name));
  if (!is_alive(entry.state)) {
    SPORE_ASSIGN(const std::string text,
                 base::read_file(registry.folder(options.name).console_log(), kMaxConsoleLog));
    take(text);
    return {};
  }
  SPORE_ASSIGN(MonitorClient client, MonitorClient::connect(registry, options.name));
  return client.logs(options.follow, take);
}

Result<void> show(const LogsOptions& options) {
  SPORE_ASSIGN(const Registry registry, Registry::open());
  if (!options.json) {
    return read_console(options, registry,
                        [](std::string_view text) { return write_all(STDOUT_FILENO, text); });
  }
  std::string console;
  SPORE_TRY(read_console(options, registry, [&console](std::string_view text) {
    console += text;
    console.erase(0, console.size() - std::min<std::size_t>(console.size(), kMaxConsoleLog));
    return true;
  }));
  print_json({{"name", options.name}, {"console", console}});
  return {};
}

int run(const LogsOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  end_on_signals();
  const auto shown = show(options);
  return shown ? 0 : report(shown.error(), options.json);
}

}  // namespace

void add_logs_command(CLI::App& app, Context& context) {
  CLI::App* logs = app.add_subcommand("logs", "Print what a machine's console said");
  auto options = std::make_shared<LogsOptions>();
  logs->add_option("name", options->name, "The machine")->required();
  logs->add_flag("-f,--follow", options->follow, "Go on until the machine ends");
  logs->add_flag("--json", options->json, "As a JSON object (with -f: when the machine has ended)");
  logs->footer(std::string("The console is the kernel's and /dev/console; its end is kept, 64 KiB "
                           "or more.\n") +
               kStatusFooter + "Example:\n  spore logs -f web");
  logs->callback([options, &context] { context.status = run(*options); });
}

}  // namespace spore::cli::machines
