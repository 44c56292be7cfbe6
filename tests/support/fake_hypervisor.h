// FakeHypervisor: a backend whose vCPUs do what a test says, one exit after the other. With it the
// run loop, capture and fork are tested without any hypervisor.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "vm/hypervisor.h"

namespace spore::testing {

// What the vCPUs of one machine share with the test. Thread-safe.
class FakeCpu {
 public:
  // The next exit of this vCPU. It waits in run() while there is none, until kicked.
  void write_mmio(std::uint64_t address, std::vector<std::byte> data);
  void write_port(std::uint16_t port, std::vector<std::byte> data);
  void stop_with(vm::VcpuExit exit);

  // How often settle() was called while an access of this vCPU was unfinished.
  [[nodiscard]] int settled_accesses() const;
  [[nodiscard]] std::size_t pending() const;

 private:
  friend class FakeVcpu;
  struct Step {
    vm::VcpuExit exit;
    std::vector<std::byte> data;  // what the exit's span shows
  };
  void push(Step step);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Step> steps_;
  Step current_{vm::ExitInterrupted{}, {}};
  bool kicked_ = false;
  bool unfinished_ = false;
  int settled_ = 0;
};

class FakeHypervisor final : public vm::Hypervisor {
 public:
  // The vCPUs of the n-th machine made; made on demand, so that a script can be laid out ahead.
  FakeCpu& cpu(std::size_t machine, std::size_t index);
  // What collect_written() of every machine with tracking answers next, once.
  void will_tell_written(std::vector<vm::SlotPage> pages);
  // From now on, saving a vCPU fails.
  void fail_saves() noexcept { fail_saves_ = true; }

  // What platform() answers.
  vm::GuestPlatform offered{"fake", "FakeVendor", {"avx", "sse3"}, "fake-clock", 1'000'000, false};

  Result<vm::GuestPlatform> platform() override { return offered; }
  Result<std::unique_ptr<vm::HypervisorVm>> create_vm(vm::WriteTracking) override;

 private:
  friend class FakeVm;
  friend class FakeVcpu;
  std::mutex mutex_;
  std::size_t machines_ = 0;
  std::vector<std::pair<std::pair<std::size_t, std::size_t>, std::unique_ptr<FakeCpu>>> cpus_;
  std::vector<vm::SlotPage> written_;  // under mutex_
  std::atomic<bool> fail_saves_{false};
};

}  // namespace spore::testing
