// `spore nest start|stop|status|exec`: the emulated KVM host, by hand.
#include "nest/nest.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "nest_exec.h"

namespace spore::cli {
namespace {

int start_nest() {
  end_on_signals();
  const auto started = nest::start(show_progress);
  if (!started) {
    return report(started.error());
  }
  fmt::print("{}\n", *started ? "the nest is up" : "the nest was up already");
  return 0;
}

int stop_nest() {
  end_on_signals();
  const auto stopped = nest::stop();
  if (!stopped) {
    return report(stopped.error());
  }
  fmt::print("{}\n", *stopped ? "the nest is stopped" : "there was no nest to stop");
  return 0;
}

nlohmann::json to_json(const nest::NestStatus& status) {
  nlohmann::json object = {{"running", status.running}, {"runtime_dir", status.runtime_dir}};
  if (status.running) {
    object.update({{"pid", status.pid},
                   {"started_at", status.started_at},
                   {"qemu", status.qemu},
                   {"qemu_version", status.qemu_version},
                   {"kernel_release", status.kernel_release},
                   {"memory_bytes", status.memory_bytes},
                   {"resident_bytes", status.resident_bytes},
                   {"idle_seconds", status.idle_seconds},
                   {"clients", status.clients}});
  }
  return object;
}

int show_status(bool as_json) {
  const auto status = nest::status();
  if (!status) {
    return report(status.error());
  }
  if (as_json) {
    fmt::print("{}\n", to_json(*status).dump(2));
  } else if (!status->running) {
    fmt::print("not running (files in {})\n", status->runtime_dir);
  } else {
    const std::time_t since = status->started_at;
    fmt::print(
        "running since {:%Y-%m-%d %H:%M:%S}\n"
        "  QEMU     {} ({}), process {}\n"
        "  kernel   {}\n"
        "  memory   {} MiB, {} MiB of this host's in use\n"
        "  clients  {} of {}; powers off after {} s without one\n"
        "  files    {}\n",
        fmt::localtime(since), status->qemu_version, status->qemu, status->pid,
        status->kernel_release, status->memory_bytes >> 20, status->resident_bytes >> 20,
        status->clients, nest::kClientPorts, status->idle_seconds, status->runtime_dir);
  }
  return 0;
}

void add_exec(CLI::App& nest, Context& context) {
  CLI::App* exec = nest.add_subcommand("exec", "Run a command in the nest, on this host's files");
  auto options = std::make_shared<NestExecOptions>();
  exec->add_option("-e,--env", options->env, "NAME=VALUE for the command, or NAME to pass it on");
  exec->add_option("-w,--workdir", options->workdir, "Where to run (default: here)");
  exec->add_option("command", options->argv, "The command and its arguments")->required();
  exec->positionals_at_end();
  exec->footer("Example:\n  spore nest exec -- ls -l /dev/kvm");
  exec->callback([options, &context] { context.status = run_nest_exec(*options); });
}

}  // namespace

void add_nest_commands(CLI::App& app, Context& context) {
  CLI::App* nest =
      app.add_subcommand("nest", "The emulated KVM host that runs machines where KVM cannot");
  nest->require_subcommand(1);
  nest->footer(
      "It starts by itself when a machine needs it. SPORE_NEST_MEMORY (such as 4G) sets its\n"
      "memory, SPORE_NEST_IDLE the seconds after which it powers itself off, SPORE_RUNTIME_DIR\n"
      "where its files lie, SPORE_QEMU which QEMU is used.\n"
      "Examples:\n  spore nest status\n  spore nest exec -- uname -a");
  nest->add_subcommand("start", "Start it, unless it runs")->callback([&context] {
    context.status = start_nest();
  });
  nest->add_subcommand("stop", "Stop it and all that runs in it")->callback([&context] {
    context.status = stop_nest();
  });
  CLI::App* status = nest->add_subcommand("status", "Say whether and how it runs");
  auto as_json = std::make_shared<bool>(false);
  status->add_flag("--json", *as_json, "As a JSON object");
  status->callback([as_json, &context] { context.status = show_status(*as_json); });
  add_exec(*nest, context);
}

}  // namespace spore::cli
