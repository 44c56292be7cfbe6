// Waits for the end of a VM.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string_view>

#include "vm/vm.h"

namespace spore::testing {

class Ending final : public vm::VmObserver {
 public:
  void on_agent_bytes(std::string_view) override {}
  void on_captured(const CaptureTimings&) override {}
  void on_ended(const MachineEnd& end) override {
    const std::lock_guard lock(mutex_);
    end_ = end;
    changed_.notify_all();
  }
  MachineEnd await() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return end_.has_value(); });
    return *end_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<MachineEnd> end_;
};

}  // namespace spore::testing
