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

#include "output_reader.h"

namespace spore::gtest_runner {

class OutputParser final : public OutputReader {
 public:
  // `tests`: what the child was asked to run. The list must outlive the parser.
  OutputParser(const TestList& list, const std::vector<std::size_t>& tests);
  [[nodiscard]] std::unique_ptr<OutputReader> clone() const override {
    return std::make_unique<OutputParser>(*this);
  }
  void expect(const std::vector<std::size_t>& tests) override;

  void feed_errors(std::string_view bytes) override { errors_ += bytes; }
  std::optional<TestRecord> finish(const std::string& death) override;

  // "Running N tests" came.
  [[nodiscard]] bool began() const noexcept override { return state_ != State::kPreamble; }
  // The closing summary came.
  [[nodiscard]] bool completed() const noexcept override { return state_ == State::kSummary; }
  [[nodiscard]] int announced() const noexcept override { return announced_; }
  [[nodiscard]] std::optional<std::size_t> running() const noexcept override { return running_; }
  [[nodiscard]] std::size_t progress() const noexcept override { return progress_; }

  std::string take_preamble() override { return std::exchange(preamble_, {}); }
  std::string take_loose() override { return std::exchange(loose_, {}); }
  std::string take_unfinished() override { return take_loose() + std::exchange(partial_, {}); }
  std::string take_epilogue() override { return std::exchange(epilogue_, {}); }
  std::string take_errors() override { return std::exchange(errors_, {}); }
  [[nodiscard]] std::vector<std::string> failed_suites() const override { return failed_suites_; }

 private:
  enum class State { kPreamble, kBetween, kInTest, kSummary };

  void line(std::string_view line, std::vector<TestRecord>& ended) override;
  void preamble_line(std::string_view line);
  void between_line(std::string_view line);
  void test_line(std::string_view line, std::vector<TestRecord>& ended);
  void summary_line(std::string_view line);
  void begin_test(std::size_t test);
  TestRecord end_test(Outcome outcome);

  const TestList* list_;
  std::unordered_map<std::string, std::size_t> expected_;  // by full name; those not yet begun
  State state_ = State::kPreamble;
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
