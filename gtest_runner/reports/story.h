// What happened in a run, and when, for --html and --json. Times are seconds since the run began.
// Any thread may tell; told() is for when all children are done.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "failure_text.h"
#include "results.h"

namespace spore::gtest_runner {

struct PhaseStory {
  std::string name;
  double began = 0;
  double seconds = 0;
};

struct KeptStory {
  double at = 0;
  std::size_t test = 0;
  std::string path;  // as it was given
};

// One forked machine, through all its resets.
struct ChildStory {
  std::size_t worker = 0;
  int attempt = 0;
  double forked = 0;
  double ended = 0;
  std::vector<double> resets;
  std::vector<std::pair<double, std::string>> losses;  // ends by itself, and why
  std::vector<KeptStory> kept;
  std::optional<std::uint64_t> private_bytes;
};

struct TestStory {
  std::size_t test = 0;  // index into the list
  int attempt = 0;       // from 0
  std::optional<std::size_t> child;
  double began = 0;
  double ended = 0;
  double seconds = 0;  // as the program measured it
  Outcome outcome = Outcome::kPassed;
  bool crashed = false;  // the program or the machine ended
  std::vector<Failure> failures;
  std::vector<std::pair<std::string, std::string>> texts;  // titles and texts, if it failed
  std::string kept;                                        // its machine; empty: none
};

struct StoryTold {
  std::vector<PhaseStory> phases;
  std::vector<ChildStory> children;
  std::vector<TestStory> tests;
};

class Story {
 public:
  using Clock = std::chrono::steady_clock;

  // `detailed`: remembers each test; else nothing of them.
  explicit Story(bool detailed) : detailed_(detailed) {}
  // The run began before this was made, and what was done until now is the phase `name`.
  void began(Clock::time_point when, std::string name);

  [[nodiscard]] double now() const { return since(Clock::now()); }
  // A phase that ended just now.
  void did(std::string name, double seconds);

  // A machine was forked; its number, by which the others know it.
  std::size_t forked(std::size_t worker, int attempt);
  void given(std::size_t child, std::size_t batch);
  void reset(std::size_t child);
  void lost(std::size_t child, const std::string& why);
  void kept(std::size_t child, std::size_t test, const std::string& path);
  void measured(std::size_t child, std::uint64_t private_bytes);
  void retired(std::size_t child);
  // All tests of one iteration.
  void ended(const std::vector<TestRecord>& records, int attempt);

  [[nodiscard]] const StoryTold& told() const { return told_; }

 private:
  [[nodiscard]] double since(Clock::time_point when) const {
    return std::chrono::duration<double>(when - zero_).count();
  }
  void add_text(TestStory& test, const char* title, const std::string& text);
  TestStory make_test(const TestRecord& record, int attempt);

  const bool detailed_;
  Clock::time_point zero_ = Clock::now();
  std::mutex mutex_;
  StoryTold told_;
  std::map<std::size_t, std::size_t> child_of_batch_;
  std::size_t texts_left_ = std::size_t{8} << 20U;  // bytes, of all tests
};

}  // namespace spore::gtest_runner
