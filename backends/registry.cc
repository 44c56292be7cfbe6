// The engines of this build: which there are, whether they can run a machine here, and a Session on
// top of one.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kvm/kvm_hypervisor.h"
#include "nest/environment.h"
#include "nest/nest.h"
#include "nest/nest_host.h"
#include "session/host.h"
#include "session/local_host.h"
#include "spore/session.h"

namespace spore {
namespace {

using HostResult = Result<std::unique_ptr<session::Host>>;

HostResult open_kvm(const SessionOptions&) {
  SPORE_TRY(kvm::probe_kvm());
  session::LocalHostOptions options;
  SPORE_ASSIGN(options.hypervisor, kvm::create_kvm_hypervisor());
  SPORE_ASSIGN(options.agent_path, nest::helper_program("spore-agent"));
  return std::make_unique<session::LocalHost>(std::move(options));
}

HostResult open_nest(const SessionOptions& options) {
  return nest::open_nest_host(options.progress);
}

Result<std::string> probe_kvm_engine() {
  SPORE_TRY(kvm::probe_kvm());
  return std::string("/dev/kvm ran the probe's instructions at ring 0");
}

struct Engine {
  std::string name;
  Result<std::string> (*probe)();  // how it was found usable
  HostResult (*open)(const SessionOptions&);
};

// In the order in which `auto` tries them.
const std::vector<Engine>& engines() {
  static const std::vector<Engine> kEngines = {
      {.name = "kvm", .probe = probe_kvm_engine, .open = open_kvm},
      {.name = "nest", .probe = nest::probe, .open = open_nest},
  };
  return kEngines;
}

Result<std::unique_ptr<Session>> open_engine(const Engine& engine, const SessionOptions& options) {
  SPORE_ASSIGN(auto host, engine.open(options));
  return session::make_session(std::move(host), engine.name);
}

// The first engine whose probe succeeds; what the others said is told only when none does.
Result<std::unique_ptr<Session>> open_first(const SessionOptions& options) {
  std::string reasons;
  for (const Engine& engine : engines()) {
    const auto probed = engine.probe();
    if (probed) {
      return open_engine(engine, options);
    }
    reasons += fmt::format("; {}: {}", engine.name, probed.error().message());
  }
  return fail(ErrorCode::kUnavailable,
              fmt::format("looking for an engine: none can run machines here{}", reasons));
}

}  // namespace

Result<std::unique_ptr<Session>> open_session(const SessionOptions& options) {
  if (options.engine == "auto") {
    return open_first(options);
  }
  std::string names = "auto";
  for (const Engine& engine : engines()) {
    if (engine.name == options.engine) {
      return open_engine(engine, options);
    }
    names += ", " + engine.name;
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("choosing the engine \"{}\": there is no such engine; say one of {}",
                          options.engine, names));
}

std::vector<EngineReport> probe_engines() {
  std::vector<EngineReport> reports;
  for (const Engine& engine : engines()) {
    const auto probed = engine.probe();
    reports.push_back({.name = engine.name,
                       .usable = probed.has_value(),
                       .why = probed ? *probed : probed.error().message()});
  }
  return reports;
}

}  // namespace spore
