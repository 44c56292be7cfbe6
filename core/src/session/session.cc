// A Session on top of any Host.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/clock.h"
#include "session/agent_section.h"
#include "session/ended.h"
#include "session/host.h"
#include "session/machine.h"

namespace spore::session {
namespace {

class HostSession final : public Session {
 public:
  HostSession(std::unique_ptr<Host> host, std::string name)
      : engine_(std::make_shared<Engine>(std::move(host), std::move(name))) {}
  ~HostSession() override { engine_->close_all(); }

  Result<std::unique_ptr<Machine>> boot(const MachineConfig& config, Milliseconds timeout) override;
  Result<std::shared_ptr<Spore>> load(const std::string& path, const LoadOptions& options) override;
  [[nodiscard]] std::string_view engine() const noexcept override { return engine_->name(); }

 private:
  const std::shared_ptr<Engine> engine_;
};

// What a guest that did not come up gets told as: how it ended, its console, and what may help.
Error boot_error(const MachineConfig& config, const Error& error, std::optional<MachineEnd> end,
                 std::string console, Milliseconds timeout) {
  std::string sentence = fmt::format(
      "booting a machine ({} MiB, {} CPUs, kernel {}): {}", config.memory_bytes / kMiB, config.cpus,
      config.kernel.empty() ? "the newest in /boot" : config.kernel,
      end ? describe_end(*end)
          : fmt::format("its agent did not answer within {} s", timeout.count() / 1000));
  if (const std::string advice = memory_advice(console, config.memory_bytes); !advice.empty()) {
    sentence += ": " + advice;
  }
  return Error(error.code(), with_console(std::move(sentence), console));
}

Result<std::unique_ptr<Machine>> HostSession::boot(const MachineConfig& config,
                                                   Milliseconds timeout) {
  auto link = MachineLink::for_boot(engine_);
  const auto deadline = deadline_after(timeout);
  const auto start = Clock::now();
  SPORE_ASSIGN(const Host::Booted booted, engine_->host().boot(config, link));
  link->set_machine(booted.id);
  if (!engine_->adopt(booted.id)) {
    return fail(ErrorCode::kMachineEnded, "booting a machine: the session is over");
  }
  BootTimings timings{.build_us = booted.build_us, .agent_ready_us = 0};
  const auto ready = link->client().wait_ready(deadline);
  if (!ready) {
    const auto end = link->client().ended();
    std::string console = end && !end->console_tail.empty()
                              ? end->console_tail
                              : engine_->host().console_tail(booted.id);
    engine_->close_machine(booted.id);
    return fail(boot_error(config, ready.error(), end, std::move(console), timeout));
  }
  const std::uint64_t whole = base::microseconds_between(start, ready->at);
  timings.agent_ready_us = whole - std::min(whole, timings.build_us);
  return std::make_unique<SessionMachine>(engine_, std::move(link), booted.generation, timings,
                                          ForkTimings{});
}

Result<std::shared_ptr<Spore>> HostSession::load(const std::string& path,
                                                 const LoadOptions& options) {
  std::error_code error;
  const std::string absolute = std::filesystem::absolute(path, error).lexically_normal().string();
  SPORE_ASSIGN(LoadedHere loaded, engine_->host().load(absolute, options));
  auto snapshot =
      read_agent_section(loaded.agent_section, fmt::format("section agent of {}", path));
  if (!snapshot) {
    engine_->host().release(loaded.id);
    return fail(snapshot.error());
  }
  return std::make_shared<SessionSpore>(engine_, loaded.id, std::move(*snapshot),
                                        std::move(loaded.generation), CaptureTimings{},
                                        std::move(loaded.spore));
}

}  // namespace

std::unique_ptr<Session> make_session(std::unique_ptr<Host> host, std::string engine) {
  return std::make_unique<HostSession>(std::move(host), std::move(engine));
}

}  // namespace spore::session
