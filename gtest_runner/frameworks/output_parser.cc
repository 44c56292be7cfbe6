#include "output_parser.h"

#include <array>
#include <charconv>
#include <utility>

namespace spore::gtest_runner {
namespace {

constexpr std::string_view kRunTag = "[ RUN      ] ";
constexpr std::string_view kHeaderTag = "[==========] ";
constexpr std::string_view kSectionTag = "[----------] ";
constexpr std::string_view kDisabledTag = "[ DISABLED ] ";
constexpr std::string_view kFailedTag = "[  FAILED  ] ";
constexpr std::string_view kSuiteFailure = ": SetUpTestSuite or TearDownTestSuite";
constexpr std::array<std::pair<std::string_view, Outcome>, 3> kResultTags = {{
    {"[       OK ] ", Outcome::kPassed},
    {kFailedTag, Outcome::kFailed},
    {"[  SKIPPED ] ", Outcome::kSkipped},
}};
// Notes that are about one child only, or that the merged text gives itself.
constexpr std::array<std::string_view, 3> kNotes = {
    "Note: Google Test filter = ", "Note: This is test shard ", "Note: Randomizing tests' orders "};

std::string_view without_newline(std::string_view line) {
  return line.ends_with('\n') ? line.substr(0, line.size() - 1) : line;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

int leading_number(std::string_view text) {
  int value = -1;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// Splits ", where GetParam() = 3 (12 ms)" into the comment and the time; false when the line does
// not end a result (the value has line breaks).
bool split_result(std::string_view rest, std::string& comment, std::int64_t& time_ms) {
  rest = without_newline(rest);
  if (!rest.ends_with(" ms)")) {
    return false;
  }
  const auto open = rest.rfind(" (");
  if (open == std::string_view::npos) {
    return false;
  }
  const std::string_view digits = rest.substr(open + 2, rest.size() - open - 2 - 4);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), time_ms);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return false;
  }
  comment = rest.substr(0, open);
  return true;
}

}  // namespace

OutputParser::OutputParser(const TestList& list, const std::vector<std::size_t>& tests)
    : list_(&list) {
  expect(tests);
}

void OutputParser::expect(const std::vector<std::size_t>& tests) {
  expected_.clear();
  for (const std::size_t test : tests) {
    expected_.emplace(list_->tests[test].full_name(), test);
  }
}

std::optional<TestRecord> OutputParser::finish(const std::string& death) {
  auto ended = end_line();
  if (ended || !running_) {
    return ended;
  }
  if (ending_) {
    output_ += result_rest_;
  }
  TestRecord record = end_test(Outcome::kFailed);
  record.time_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(record.ended - record.began).count();
  record.comment = list_->tests[record.test].comment();
  record.death = death;
  return record;
}

void OutputParser::line(std::string_view line, std::vector<TestRecord>& ended) {
  switch (state_) {
    case State::kPreamble:
      preamble_line(line);
      break;
    case State::kBetween:
      between_line(line);
      break;
    case State::kInTest:
      test_line(line, ended);
      break;
    case State::kSummary:
      summary_line(line);
      break;
  }
}

void OutputParser::preamble_line(std::string_view line) {
  for (const std::string_view note : kNotes) {
    if (line.starts_with(note)) {
      return;
    }
  }
  constexpr std::string_view kRunning = "Running ";
  const auto header = line.find(kHeaderTag);
  if (header != std::string_view::npos &&
      line.substr(header + kHeaderTag.size()).starts_with(kRunning)) {
    preamble_ += line.substr(0, header);
    announced_ = leading_number(line.substr(header + kHeaderTag.size() + kRunning.size()));
    state_ = State::kBetween;
    return;
  }
  preamble_ += line;
}

void OutputParser::between_line(std::string_view line) {
  if (const auto run = line.find(kRunTag); run != std::string_view::npos) {
    const std::string name(without_newline(line.substr(run + kRunTag.size())));
    if (const auto found = expected_.find(name); found != expected_.end()) {
      loose_ += line.substr(0, run);
      const std::size_t test = found->second;
      expected_.erase(found);
      begin_test(test);
      return;
    }
  }
  if (const auto header = line.find(kHeaderTag);
      header != std::string_view::npos && contains(line.substr(header), " ran.")) {
    loose_ += line.substr(0, header);
    state_ = State::kSummary;
    return;
  }
  for (const std::string_view tag : {kSectionTag, kDisabledTag}) {
    if (const auto at = line.find(tag); at != std::string_view::npos) {
      loose_ += line.substr(0, at);
      return;
    }
  }
  if (line != "\n") {
    loose_ += line;
  }
}

void OutputParser::begin_test(std::size_t test) {
  running_ = test;
  before_ = std::exchange(loose_, {});
  started_ = std::chrono::steady_clock::now();
  state_ = State::kInTest;
  ++progress_;
}

void OutputParser::test_line(std::string_view line, std::vector<TestRecord>& ended) {
  if (!ending_) {
    const std::string name = list_->tests[*running_].full_name();
    for (const auto& [tag, outcome] : kResultTags) {
      const auto at = line.find(std::string(tag) + name);
      if (at == std::string_view::npos) {
        continue;
      }
      const std::string_view rest = line.substr(at + tag.size() + name.size());
      if (rest.starts_with(" (") || rest.starts_with(", where ")) {
        output_ += line.substr(0, at);
        ending_ = outcome;
        result_rest_.clear();
        line = rest;
        break;
      }
    }
    if (!ending_) {
      output_ += line;
      return;
    }
  }
  result_rest_ += line;
  std::string comment;
  std::int64_t time_ms = 0;
  if (split_result(result_rest_, comment, time_ms)) {
    TestRecord record = end_test(*ending_);
    record.comment = std::move(comment);
    record.time_ms = time_ms;
    ended.push_back(std::move(record));
  }
}

TestRecord OutputParser::end_test(Outcome outcome) {
  TestRecord record;
  record.test = *running_;
  record.began = started_;
  record.ended = std::chrono::steady_clock::now();
  record.outcome = outcome;
  record.before = std::exchange(before_, {});
  record.output = std::exchange(output_, {});
  record.errors = std::exchange(errors_, {});
  running_.reset();
  ending_.reset();
  result_rest_.clear();
  state_ = State::kBetween;
  ++progress_;
  return record;
}

void OutputParser::summary_line(std::string_view line) {
  const std::string_view text = without_newline(line);
  if (text.starts_with(kFailedTag) && text.ends_with(kSuiteFailure)) {
    failed_suites_.emplace_back(
        text.substr(kFailedTag.size(), text.size() - kFailedTag.size() - kSuiteFailure.size()));
    return;
  }
  const bool own = text.empty() || text.starts_with("[  PASSED  ] ") ||
                   text.starts_with(kFailedTag) || text.starts_with("[  SKIPPED ] ") ||
                   text.starts_with("  YOU HAVE ") ||
                   (text.front() == ' ' || (text.front() >= '0' && text.front() <= '9')
                        ? contains(text, " FAILED TEST")
                        : false);
  if (!own) {
    epilogue_ += line;
  }
}

}  // namespace spore::gtest_runner
