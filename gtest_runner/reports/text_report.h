// The merged text: reads like one run of GoogleTest, in the order of --gtest_list_tests. A test is
// printed as soon as it and all that come before it are done.
//
// Any thread may call; the text of one call is printed in one piece.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "results.h"

namespace spore::gtest_runner {

// Where text goes: the terminal, or a test.
class TextSink {
 public:
  virtual ~TextSink() = default;
  virtual void out(std::string_view text) = 0;
  virtual void err(std::string_view text) = 0;
};

struct TextStyle {
  bool color = false;
  bool brief = false;
  bool print_time = true;
};

// What the head of a run says.
struct RunHeading {
  std::string filter = "*";
  int outer_shard = 0;
  int outer_shards = 1;
  bool shuffle = false;
  int random_seed = 0;
  std::optional<int> iteration = std::nullopt;  // set when the tests are repeated; from 0
  bool also_run_disabled = false;
};

class TextReport {
 public:
  TextReport(TextSink& sink, const TestList& list, const Selection& selection, TextStyle style,
             RunHeading heading);
  TextReport(const TextReport&) = delete;
  TextReport& operator=(const TextReport&) = delete;
  virtual ~TextReport() = default;

  // What a child printed ahead of its run. Text that another child printed too is printed once.
  void preamble(const std::string& text);
  // What the SetUpTestSuite printed that was run once for all tests of `suite`, before any of them.
  void suite_set_up(const std::string& suite, const std::string& text);
  void add(TestRecord record);
  // What a child printed between its last test and its end, and after its summary.
  void epilogue(const std::string& between, const std::string& after);
  void errors(const std::string& text);
  void failed_suite(const std::string& suite);

  // All children are done: prints what is left and the summary. Every test must have a record.
  void finish(std::int64_t total_ms);

  // Tests that have no record yet, in their order.
  [[nodiscard]] std::vector<std::size_t> missing() const;
  // The records so far, in no order.
  [[nodiscard]] std::vector<TestRecord> so_far() const;
  // In the order of selection.to_run; valid after finish().
  [[nodiscard]] const std::vector<TestRecord>& records() const { return records_; }

 protected:
  // What another framework prints otherwise. Called with the lock held.
  virtual void print_heading();  // once; may be called again
  virtual void print_test(const TestRecord& record);
  virtual void print_end(std::int64_t total_ms);  // every test has been printed

  [[nodiscard]] std::size_t count(Outcome outcome) const;

  TextSink& sink_;
  const TestList& list_;
  const RunHeading heading_;
  std::vector<TestRecord> records_;
  bool heading_printed_ = false;

 private:
  enum class Color { kRed = 1, kGreen = 2, kYellow = 3 };
  struct SuiteCount {
    std::size_t to_run = 0;
    std::int64_t time_ms = 0;
  };

  [[nodiscard]] std::string colored(Color color, std::string_view text) const;
  void print_ready();
  void print_disabled_until(std::size_t test);
  void begin_suite(const ListedTest& test);
  void end_suite();
  void print_summary(std::int64_t total_ms);
  void print_failures();

  const Selection& selection_;
  const TextStyle style_;

  mutable std::mutex mutex_;
  std::map<std::size_t, TestRecord> waiting_;  // by test
  std::map<std::string, SuiteCount> suites_;
  std::vector<std::string> suite_order_;
  std::map<std::string, std::string> suite_texts_;
  std::string open_suite_;
  std::size_t next_reported_ = 0;  // in selection_.reported
  std::set<std::string> said_;     // preambles and epilogues printed already
  std::string after_;
  std::set<std::string> failed_suites_;
};

}  // namespace spore::gtest_runner
