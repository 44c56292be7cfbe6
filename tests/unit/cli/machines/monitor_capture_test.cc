// Captures that a monitor's clients order.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "unit/cli/machines/monitor_fixture.h"

namespace spore::cli::machines::test {
namespace {

SavedSpore saved_at(const std::string& path) {
  SavedSpore saved;
  saved.path = path;
  return saved;
}

// What a scripted machine's capture gives.
class ScriptedSpore final : public Spore {
 public:
  explicit ScriptedSpore(Result<SavedSpore> saved) : saved_(std::move(saved)) {}

  Result<std::vector<std::unique_ptr<Machine>>> fork(
      const std::vector<ForkParameters>& children) override {
    std::vector<std::unique_ptr<Machine>> machines(children.size());
    std::ranges::generate(machines, [] { return std::make_unique<ScriptedMachine>(); });
    return machines;
  }
  Result<std::unique_ptr<Machine>> reset(Machine& /*used*/, const ForkParameters&) override {
    return fail(ErrorCode::kUnavailable, "");
  }
  Result<SavedSpore> save(const std::string& /*path*/, const SaveOptions& /*options*/) override {
    return saved_;
  }
  [[nodiscard]] const Generation& generation() const noexcept override { return generation_; }
  [[nodiscard]] const CaptureTimings& timings() const noexcept override { return timings_; }
  [[nodiscard]] const std::optional<LoadedSpore>& loaded() const noexcept override {
    return loaded_;
  }
  [[nodiscard]] std::vector<std::uint32_t> processes() const override { return {}; }

 private:
  const Result<SavedSpore> saved_;
  Generation generation_;
  CaptureTimings timings_;
  std::optional<LoadedSpore> loaded_;
};

TEST_F(MonitorTest, ACapturedMachineGoesOn) {
  machine_->on_capture = [](const CaptureOptions& options) -> Result<std::shared_ptr<Spore>> {
    EXPECT_TRUE(options.keep_running);
    return std::make_shared<ScriptedSpore>(saved_at("/saved"));
  };
  const auto saved = client().capture({.path = "/saved", .after = AfterCapture::kGoesOn});
  ASSERT_TRUE(saved) << saved.error().message();
  EXPECT_EQ(saved->path, "/saved");
  EXPECT_TRUE(client().exec({.argv = {"cat"}}));
  EXPECT_EQ(monitor_->suspended_to(), "");
}

TEST_F(MonitorTest, AMachineThatIsSuspendedEndsItsMonitor) {
  machine_->on_capture = [this](const CaptureOptions& options) -> Result<std::shared_ptr<Spore>> {
    EXPECT_FALSE(options.keep_running);
    machine_->close();
    return std::make_shared<ScriptedSpore>(saved_at("/saved"));
  };
  ASSERT_TRUE(client().capture({.path = "/saved", .after = AfterCapture::kIsSuspended}));
  wait();
  ASSERT_TRUE(outcome_);
  EXPECT_EQ(*outcome_, Monitor::Outcome::kMachineEnded);
  EXPECT_EQ(monitor_->suspended_to(), "/saved");
}

TEST_F(MonitorTest, AMachineThatCannotBeSavedGoesOn) {
  machine_->on_capture = [this](const CaptureOptions&) -> Result<std::shared_ptr<Spore>> {
    machine_->close();
    return std::make_shared<ScriptedSpore>(fail(ErrorCode::kResourceExhausted, "no room"));
  };
  const auto saved = client().capture({.path = "/saved", .after = AfterCapture::kIsSuspended});
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(monitor_->suspended_to(), "");
  EXPECT_TRUE(client().exec({.argv = {"cat"}})) << "a fork of it took its place";
  EXPECT_TRUE(machine_->requests().empty());
}

}  // namespace
}  // namespace spore::cli::machines::test
