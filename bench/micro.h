// What the native benchmarks share: a micro guest in user mode that writes to some pages and powers
// off, captured; waiting for its end; quantiles, and the JSON lines that bench/run.py reads.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "vm/vm.h"

namespace spore::bench {

using Clock = std::chrono::steady_clock;

double microseconds(Clock::time_point from, Clock::time_point to);

class Waiter final : public vm::VmObserver {
 public:
  void on_agent_bytes(std::string_view) override {}
  void on_captured(const CaptureTimings&) override {}
  void on_ended(const MachineEnd& end) override;
  void await_end();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
};

// The first page that the guest writes to.
inline constexpr std::uint64_t kFirstWrittenPage = 16 * kMiB / 4096;

// A machine about to write to `written_pages` pages and to power off. `content` lies in its RAM
// from kContentAt on.
inline constexpr std::uint64_t kContentAt = 64 * kMiB;
std::shared_ptr<const vm::Capture> capture_micro_guest(vm::Hypervisor& hypervisor,
                                                       std::uint64_t memory_bytes,
                                                       std::uint32_t written_pages = 0,
                                                       std::string_view content = {});
// Another generation of it.
Generation child_of(const vm::Capture& capture);

double quantile(std::vector<double> values, double q);

// {"name", "memory_mib", "p50_us", "p99_us"}
void report(std::string_view name, std::uint64_t mib, const std::vector<double>& values);

}  // namespace spore::bench
