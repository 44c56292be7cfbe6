// Reads the XML that Catch2 and doctest print while they run: the two writers are of one family.
// Elements come one a line, escaped and flushed, but that the line of one that ends is ended by the
// next; what the tests print themselves comes between.
//
// Hostile: a test may print what looks like its framework's element. Within a test only the element
// with its result and the end behind it end it, and only tests that this child was asked to run
// have records. A test that feigns its own end is found out by what the framework prints next, and
// by the number of failed tests that it counts at the end: see doubt().
#pragma once

#include <chrono>
#include <map>
#include <utility>

#include "case_format.h"
#include "output_reader.h"

namespace spore::gtest_runner {

class CaseReader final : public OutputReader {
 public:
  // Both must outlive the reader.
  CaseReader(const CaseFormat& format, const TestList& list) : format_(&format), list_(&list) {}

  [[nodiscard]] std::unique_ptr<OutputReader> clone() const override {
    return std::make_unique<CaseReader>(*this);
  }
  void expect(const std::vector<std::size_t>& tests) override;
  void feed_errors(std::string_view bytes) override { errors_ += bytes; }
  std::optional<TestRecord> finish(const std::string& death) override;

  [[nodiscard]] bool began() const noexcept override { return began_; }
  [[nodiscard]] bool completed() const noexcept override { return completed_; }
  [[nodiscard]] std::optional<std::size_t> running() const noexcept override { return running_; }
  [[nodiscard]] std::size_t progress() const noexcept override { return progress_; }
  std::string take_preamble() override { return std::exchange(preamble_, {}); }
  std::string take_loose() override { return std::exchange(loose_, {}); }
  std::string take_epilogue() override { return std::exchange(epilogue_, {}); }
  std::string take_errors() override { return std::exchange(errors_, {}); }
  [[nodiscard]] std::string doubt() const override;
  [[nodiscard]] bool accepts(int status) const override;

 private:
  struct Tag {
    std::string_view name;
    std::string_view text;   // from < to >
    std::string_view ahead;  // what stands before it in its line, without its indent
    bool closes = false;
    bool is_empty = false;
  };
  [[nodiscard]] std::optional<Tag> tag_of(std::string_view line) const;
  [[nodiscard]] std::size_t end_of_element(std::string_view line) const;
  [[nodiscard]] bool is_known(std::string_view element) const;
  void line(std::string_view line, std::vector<TestRecord>& ended) override;
  [[nodiscard]] bool is_open(std::string_view text) const;
  void close_tag(std::vector<TestRecord>& ended);
  void pieces(std::string_view line, std::vector<TestRecord>& ended);
  void piece(std::string_view piece, std::vector<TestRecord>& ended);
  void outer_tag(const Tag& tag);
  void case_line(std::string_view line, std::vector<TestRecord>& ended);
  void begin_case(const Tag& tag);
  TestRecord end_case();
  void print(std::string_view text);
  void check_totals(const Tag& tag);

  const CaseFormat* format_;
  const TestList* list_;
  std::map<std::string, std::vector<std::size_t>> expected_;  // by name and place; not yet begun
  std::string preamble_;
  std::string loose_;
  std::string epilogue_;
  std::string errors_;
  std::string before_;
  std::string open_tag_;  // lines that may be one element
  std::string output_;    // of the running test, but for its elements
  std::string elements_;  // of the running test
  std::string result_;    // its result's tag
  bool in_case_ = false;
  bool is_over_ = false;                // the result has come, and nothing else since
  std::string open_text_;               // the text element that is open
  std::optional<std::size_t> running_;  // of the list; none: a test that nobody asked for
  std::chrono::steady_clock::time_point started_;
  std::size_t progress_ = 0;
  std::size_t cases_ = 0;
  std::size_t skipped_ = 0;
  std::size_t failed_ = 0;
  bool foreign_failed_ = false;
  bool is_strange_ = false;
  bool began_ = false;
  bool completed_ = false;
};

}  // namespace spore::gtest_runner
