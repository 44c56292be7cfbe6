// Reads the text that a GoogleTest program prints while it runs, and cuts it into one record per
// test. The text is hostile: tests print what they like. Only the line that ends the very test that
// runs ends it, and only tests that this child was asked to run begin.
//
// A plain value: a parser that has read a parent's output is copied for each child. Not
// thread-safe.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "results.h"

namespace spore::gtest_runner {

class OutputParser {
 public:
  // `tests`: what the child was asked to run. The list must outlive the parser.
  OutputParser(const TestList& list, const std::vector<std::size_t>& tests);
  void expect(const std::vector<std::size_t>& tests);

  // What came on stdout; returns the tests that ended with it.
  std::vector<TestRecord> feed(std::string_view bytes);
  void feed_errors(std::string_view bytes) { errors_ += bytes; }

  // No more will come. Ends the last line; a test that was running becomes a failed record with
  // `death`.
  std::optional<TestRecord> finish(const std::string& death);

  // The program began its run ("Running N tests"): what it printed ahead is complete.
  [[nodiscard]] bool began() const noexcept { return state_ != State::kPreamble; }
  // The program printed its closing summary.
  [[nodiscard]] bool completed() const noexcept { return state_ == State::kSummary; }
  // How many tests the program said that it runs.
  [[nodiscard]] int announced() const noexcept { return announced_; }
  [[nodiscard]] std::optional<std::size_t> running() const noexcept { return running_; }
  // Grows whenever a test begins or ends.
  [[nodiscard]] std::size_t progress() const noexcept { return progress_; }

  std::string take_preamble() { return std::exchange(preamble_, {}); }
  std::string take_loose() { return std::exchange(loose_, {}); }  // between tests
  // The same with a line that has not ended: nothing of it is left to this parser or a copy.
  std::string take_unfinished() { return take_loose() + std::exchange(partial_, {}); }
  std::string take_epilogue() { return std::exchange(epilogue_, {}); }  // after the summary
  std::string take_errors() { return std::exchange(errors_, {}); }
  [[nodiscard]] const std::vector<std::string>& failed_suites() const { return failed_suites_; }

 private:
  enum class State { kPreamble, kBetween, kInTest, kSummary };

  void line(std::string_view line, std::vector<TestRecord>& ended);
  void preamble_line(std::string_view line);
  void between_line(std::string_view line);
  void test_line(std::string_view line, std::vector<TestRecord>& ended);
  void summary_line(std::string_view line);
  void begin_test(std::size_t test);
  TestRecord end_test(Outcome outcome);

  const TestList* list_;
  std::unordered_map<std::string, std::size_t> expected_;  // by full name; those not yet begun
  State state_ = State::kPreamble;
  std::string partial_;  // the line that has not ended yet
  std::string preamble_;
  std::string loose_;
  std::string epilogue_;
  std::string errors_;
  std::string output_;
  std::string before_;
  std::optional<std::size_t> running_;
  std::optional<Outcome> ending_;  // its result line has begun, and goes on in the next line
  std::string result_rest_;
  std::chrono::steady_clock::time_point started_;
  std::vector<std::string> failed_suites_;
  int announced_ = -1;
  std::size_t progress_ = 0;
};

}  // namespace spore::gtest_runner
