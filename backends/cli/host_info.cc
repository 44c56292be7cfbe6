// `spore host-info`: what of this host Spore can use, and what is missing.
#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "image/kernel.h"
#include "nest/environment.h"
#include "nest/qemu.h"
#include "spore/session.h"

namespace spore::cli {
namespace {

struct HostInfo {
  std::string host_kernel;
  std::string architecture;
  std::uint64_t memory_bytes = 0;
  std::int64_t cpus = 0;
  Result<image::Kernel> guest_kernel;
  Result<nest::Qemu> qemu;
  Result<std::uint64_t> nest_memory;
  std::vector<EngineReport> engines;
};

HostInfo gather() {
  utsname names{};
  uname(&names);
  return {.host_kernel = names.release,
          .architecture = names.machine,
          .memory_bytes = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                          static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)),
          .cpus = sysconf(_SC_NPROCESSORS_ONLN),
          .guest_kernel = image::find_kernel(""),
          .qemu = nest::find_qemu(),
          .nest_memory = nest::nest_memory(),
          .engines = probe_engines()};
}

void print_json(const HostInfo& info) {
  nlohmann::json object = {
      {"version", SPORE_VERSION},          {"host_kernel", info.host_kernel},
      {"architecture", info.architecture}, {"cpus", info.cpus},
      {"memory_bytes", info.memory_bytes}, {"engines", nlohmann::json::array()}};
  for (const EngineReport& engine : info.engines) {
    object["engines"].push_back(
        {{"name", engine.name}, {"usable", engine.usable}, {"why", engine.why}});
  }
  object["guest_kernel"] = info.guest_kernel
                               ? nlohmann::json{{"path", info.guest_kernel->path},
                                                {"release", info.guest_kernel->release}}
                               : nlohmann::json{{"error", info.guest_kernel.error().message()}};
  object["qemu"] =
      info.qemu ? nlohmann::json{{"path", info.qemu->path}, {"version", info.qemu->version.text()}}
                : nlohmann::json{{"error", info.qemu.error().message()}};
  fmt::print("{}\n", object.dump(2));
}

void print_text(const HostInfo& info) {
  fmt::print("spore {}\n", SPORE_VERSION);
  fmt::print("host          Linux {} {}, {} CPUs, {} MiB\n", info.host_kernel, info.architecture,
             info.cpus, info.memory_bytes >> 20);
  fmt::print("guest kernel  {}\n",
             info.guest_kernel
                 ? fmt::format("{} ({})", info.guest_kernel->release, info.guest_kernel->path)
                 : info.guest_kernel.error().message());
  fmt::print("QEMU          {}\n",
             info.qemu ? fmt::format("{} ({})", info.qemu->version.text(), info.qemu->path)
                       : info.qemu.error().message());
  fmt::print("nest memory   {}\n", info.nest_memory ? fmt::format("{} MiB", *info.nest_memory >> 20)
                                                    : info.nest_memory.error().message());
  fmt::print("engines\n");
  for (const EngineReport& engine : info.engines) {
    fmt::print("  {:<5} {:<11} {}\n", engine.name, engine.usable ? "usable" : "not usable",
               engine.why);
  }
}

}  // namespace

void add_host_info_command(CLI::App& app, Context& context) {
  CLI::App* info =
      app.add_subcommand("host-info", "Say what of this host Spore can use, and what is missing");
  auto as_json = std::make_shared<bool>(false);
  info->add_flag("--json", *as_json, "As a JSON object");
  info->footer("Example:\n  spore host-info --json");
  info->callback([as_json, &context] {
    end_on_signals();
    *as_json ? print_json(gather()) : print_text(gather());
    context.status = 0;
  });
}

}  // namespace spore::cli
