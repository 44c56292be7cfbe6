// Reads what a test program prints while it runs, and cuts it into one record per test. The bytes
// are hostile: tests print what they like. Not thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gtest_runner/reports/results.h"

namespace spore::gtest_runner {

class OutputReader {
 public:
  virtual ~OutputReader() = default;
  // With all that was read: a parent's reader is copied for each child.
  [[nodiscard]] virtual std::unique_ptr<OutputReader> clone() const = 0;
  // What the child was asked to run.
  virtual void expect(const std::vector<std::size_t>& tests) = 0;

  // What came on stdout; returns the tests that ended with it.
  std::vector<TestRecord> feed(std::string_view bytes);
  virtual void feed_errors(std::string_view bytes) = 0;
  // No more will come. Ends the last line; a test that was running becomes a failed record with
  // `death`.
  virtual std::optional<TestRecord> finish(const std::string& death) = 0;

  // The program began its run: what it printed ahead is complete.
  [[nodiscard]] virtual bool began() const noexcept = 0;
  // The program printed the end of its run.
  [[nodiscard]] virtual bool completed() const noexcept = 0;
  // How many tests the program said that it runs; -1: it does not say.
  [[nodiscard]] virtual int announced() const noexcept { return -1; }
  [[nodiscard]] virtual std::optional<std::size_t> running() const noexcept = 0;
  // Grows whenever a test begins or ends.
  [[nodiscard]] virtual std::size_t progress() const noexcept = 0;

  virtual std::string take_preamble() = 0;
  virtual std::string take_loose() = 0;  // between tests
  // The same with a line that has not ended: nothing of it is left to this reader or a clone.
  virtual std::string take_unfinished() { return take_loose(); }
  virtual std::string take_epilogue() = 0;  // after the end of the run
  virtual std::string take_errors() = 0;
  [[nodiscard]] virtual std::vector<std::string> failed_suites() const { return {}; }

  // Why what was read cannot be believed; empty: it can.
  [[nodiscard]] virtual std::string doubt() const { return {}; }
  // Whether a program that completed its run, and whose tests of this run all passed, may end with
  // this status.
  [[nodiscard]] virtual bool accepts(int status) const { return status == 0; }

 protected:
  // A line with its end, which the last one may lack.
  virtual void line(std::string_view line, std::vector<TestRecord>& ended) = 0;
  // Nothing follows the line that has not ended: the test that it ends, if it does.
  std::optional<TestRecord> end_line();

  std::string partial_;  // the line that has not ended yet
};

}  // namespace spore::gtest_runner
