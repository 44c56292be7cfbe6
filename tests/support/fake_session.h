// A Session whose "machines" are groups of processes of this host: no isolation, no RAM to capture,
// but the same objects, events and ends. What drives machines is tested with it anywhere.
//
// A fixture point works with programs that use support/fake_fixture.h. All machines share the
// host's files.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "spore/session.h"

namespace spore::testing {

// What happened, for assertions.
struct FakeLog {
  std::mutex mutex;
  std::vector<ExecRequest> executed;
  std::vector<ForkParameters> forked;
  std::vector<MachineConfig> booted;
  std::atomic<int> open_machines{0};
  std::atomic<int> most_open{0};                   // at a time
  std::atomic<std::uint64_t> private_bytes{kMiB};  // of each machine
  std::atomic<std::uint64_t> growth_per_reset{0};  // of all machines' private_bytes
  std::atomic<int> resets{0};
  std::atomic<int> panics{0};  // so many machines more are lost as soon as they are forked
  // What was saved, by the number in its file. A "spore on disk" lives as long as the session.
  std::map<std::string, std::shared_ptr<Spore>> saved;
};

class FakeSession : public Session {
 public:
  FakeSession();
  ~FakeSession() override;
  Result<std::unique_ptr<Machine>> boot(const MachineConfig& config, Milliseconds timeout) override;
  Result<std::shared_ptr<Spore>> load(const std::string& path, const LoadOptions&) override;
  [[nodiscard]] std::string_view engine() const noexcept override { return "fake"; }
  [[nodiscard]] FakeLog& log() { return *log_; }

 private:
  std::shared_ptr<FakeLog> log_;
};

}  // namespace spore::testing
