#include "case_reader.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

namespace spore::gtest_runner {
namespace {

constexpr std::string_view kCase = "TestCase";
constexpr int kFirstSignalStatus = 128;
// Of a name with line breaks; what a test printed that looks like the begin of one waits no longer.
constexpr std::ptrdiff_t kMostLinesOfATag = 16;
// Elements around the tests that say nothing of one.
constexpr std::array<std::string_view, 8> kAround = {"TestSuite",
                                                     "Group",
                                                     "OverallResults",
                                                     "OverallResultsCases",
                                                     "OverallResultsAsserts",
                                                     "OverallResultsTestCases",
                                                     "Options",
                                                     "Randomness"};

bool is_around(std::string_view element) {
  return std::find(kAround.begin(), kAround.end(), element) != kAround.end();
}

std::string trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const auto begin = text.find_first_not_of(kSpace);
  return begin == std::string_view::npos
             ? std::string()
             : std::string(text.substr(begin, text.find_last_not_of(kSpace) - begin + 1));
}

std::string case_key(std::string_view name, std::string_view file, int line) {
  std::string key = trimmed(name);
  key += '\n';
  key += file;
  key += ':';
  key += std::to_string(line);
  return key;
}

std::string_view name_at(std::string_view text) {
  const auto* const end = std::find_if_not(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0;
  });
  return text.substr(0, static_cast<std::size_t>(end - text.begin()));
}

// The element of a tag alone.
pugi::xml_node load_tag(std::string_view tag, pugi::xml_document& document) {
  std::string text(tag);
  if (!text.ends_with("/>")) {
    text.insert(text.size() - 1, "/");
  }
  document.load_buffer(text.data(), text.size());
  return document.first_child();
}

}  // namespace

void CaseReader::expect(const std::vector<std::size_t>& tests) {
  expected_.clear();
  for (const std::size_t test : tests) {
    const ListedTest& listed = list_->tests[test];
    expected_[case_key(listed.name, listed.file, listed.line)].push_back(test);
  }
}

std::optional<TestRecord> CaseReader::finish(const std::string& death) {
  auto ended = end_line();
  if (std::vector<TestRecord> held; !open_tag_.empty()) {
    close_tag(held);
    if (!held.empty()) {
      ended = std::move(held.front());
    }
  }
  if (ended || !running_) {
    return ended;
  }
  TestRecord record = end_case();
  record.outcome = Outcome::kFailed;
  record.expected_failure = false;
  record.time_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(record.ended - record.began).count();
  record.death = death;
  return record;
}

std::string CaseReader::doubt() const {
  return is_strange_
             ? "its test program's results contradict each other: a test printed what looks "
               "like a result"
             : "";
}

bool CaseReader::accepts(int status) const {
  return format_->accepts(status, cases_ > 0 && skipped_ == cases_) ||
         (foreign_failed_ && status < kFirstSignalStatus);
}

bool CaseReader::is_known(std::string_view element) const {
  return element == kCase || element == format_->result() || format_->is_root(element) ||
         format_->is_part(element) || is_around(element);
}

// Behind the first element in a line that ends, and has what a test printed behind it; npos: there
// is none.
std::size_t CaseReader::end_of_element(std::string_view line) const {
  for (auto at = line.find('<'); at != std::string_view::npos; at = line.find('<', at + 1)) {
    const bool closes = line.substr(at).starts_with("</");
    if (!is_known(name_at(line.substr(at + (closes ? 2 : 1))))) {
      continue;
    }
    bool is_quoted = false;
    auto end = at;
    // An element begins no other: so each is looked at once, however many there are.
    while (end < line.size() &&
           (is_quoted || (line[end] != '>' && (end == at || line[end] != '<')))) {
      is_quoted = is_quoted != (line[end] == '"');
      ++end;
    }
    if (end + 1 >= line.size()) {
      return std::string_view::npos;
    }
    if (line[end] != '>') {
      continue;
    }
    const bool is_last = line[end + 1] == '\n' || line[end + 1] == '\r';
    if (!is_last && (closes || line[end - 1] == '/')) {
      return end + 1;
    }
  }
  return std::string_view::npos;
}

// An element that is the last in `line`.
std::optional<CaseReader::Tag> CaseReader::tag_of(std::string_view line) const {
  while (line.ends_with('\n') || line.ends_with('\r')) {
    line.remove_suffix(1);
  }
  const auto open = line.rfind('<');
  if (open == std::string_view::npos || !line.ends_with('>')) {
    return std::nullopt;
  }
  Tag tag;
  tag.text = line.substr(open);
  tag.ahead = line.substr(0, open);
  tag.ahead = tag.ahead.substr(0, tag.ahead.find_last_not_of(' ') + 1);
  tag.closes = tag.text.starts_with("</");
  tag.is_empty = tag.text.ends_with("/>");
  tag.name = name_at(tag.text.substr(tag.closes ? 2 : 1));
  return is_known(tag.name) ? std::optional(tag) : std::nullopt;
}

// Whether an attribute of the last element in `text` has not come to its end.
bool CaseReader::is_open(std::string_view text) const {
  const auto open = text.rfind('<');
  if (open == std::string_view::npos || !is_known(name_at(text.substr(open + 1)))) {
    return false;
  }
  bool is_quoted = false;
  for (const char c : text.substr(open)) {
    if (c == '>' && !is_quoted) {
      return false;
    }
    is_quoted = is_quoted != (c == '"');
  }
  return is_quoted;
}

// Names of sections and tests may have line breaks, which the writers do not escape.
void CaseReader::line(std::string_view line, std::vector<TestRecord>& ended) {
  if (open_tag_.empty() && !is_open(line)) {
    pieces(line, ended);
    return;
  }
  open_tag_ += line;
  const auto tag = tag_of(line);
  const bool waits = is_open(open_tag_) && !tag &&
                     std::count(open_tag_.begin(), open_tag_.end(), '\n') < kMostLinesOfATag;
  if (!waits) {
    close_tag(ended);
  }
}

// What was held back: one element, or lines that have nothing to do with each other.
void CaseReader::close_tag(std::vector<TestRecord>& ended) {
  const std::string held = std::exchange(open_tag_, {});
  const auto tag = tag_of(held);
  if (tag && tag->text.find('\n') != std::string_view::npos) {
    pieces(held, ended);
    return;
  }
  for (std::string_view rest = held; !rest.empty();) {
    const std::string_view first = rest.substr(0, rest.find('\n') + 1);
    pieces(first.empty() ? rest : first, ended);
    rest.remove_prefix(first.empty() ? rest.size() : first.size());
  }
}

void CaseReader::pieces(std::string_view line, std::vector<TestRecord>& ended) {
  while (!line.empty()) {
    const std::string_view first = line.substr(0, end_of_element(line));
    piece(first, ended);
    line.remove_prefix(first.size());
  }
}

void CaseReader::piece(std::string_view line, std::vector<TestRecord>& ended) {
  if (in_case_) {
    case_line(line, ended);
    return;
  }
  const auto tag = tag_of(line);
  if (!began_) {
    if (tag && !tag->closes && format_->is_root(tag->name)) {
      preamble_ += tag->ahead;
      began_ = true;
    } else if (!line.starts_with("<?xml ")) {
      preamble_ += line;
    }
  } else if (completed_) {
    epilogue_ += line;
  } else if (tag) {
    loose_ += with_line_end(std::string(tag->ahead));
    outer_tag(*tag);
  } else if (line != "\n") {
    loose_ += line;
  }
}

void CaseReader::outer_tag(const Tag& tag) {
  if (format_->is_root(tag.name)) {
    completed_ = completed_ || tag.closes;
  } else if (tag.name == kCase && !tag.closes && !tag.is_empty) {
    begin_case(tag);
  } else if (tag.name == format_->totals()) {
    check_totals(tag);
  } else if (tag.name == kCase ? tag.closes : !is_around(tag.name)) {
    is_strange_ = true;
  }
}

void CaseReader::begin_case(const Tag& tag) {
  pugi::xml_document document;
  const pugi::xml_node element = load_tag(tag.text, document);
  const auto found = expected_.find(case_key(element.attribute("name").value(),
                                             element.attribute("filename").value(),
                                             element.attribute("line").as_int()));
  if (found != expected_.end() && !found->second.empty()) {
    running_ = found->second.front();
    found->second.erase(found->second.begin());
  }
  in_case_ = true;
  is_over_ = false;
  output_.clear();
  elements_.clear();
  result_.clear();
  open_text_.clear();
  before_ = std::exchange(loose_, {});
  started_ = std::chrono::steady_clock::now();
  ++progress_;
}

void CaseReader::print(std::string_view text) {
  output_ += text;
}

void CaseReader::case_line(std::string_view line, std::vector<TestRecord>& ended) {
  const auto tag = tag_of(line);
  if (!open_text_.empty()) {
    elements_ += line;
    if (tag && tag->closes && tag->name == open_text_) {
      open_text_.clear();
    }
    return;
  }
  if (tag && tag->name == kCase && tag->closes && is_over_) {
    print(tag->ahead);
    const bool asked = running_.has_value();
    TestRecord record = end_case();
    if (asked) {
      ended.push_back(std::move(record));
    } else {
      foreign_failed_ = foreign_failed_ || record.outcome == Outcome::kFailed;
    }
  } else if (tag && tag->name == format_->result()) {
    print(tag->ahead);
    is_over_ = tag->closes || tag->is_empty;
    if (!tag->closes) {
      result_ = tag->text;
    }
  } else if (tag && format_->is_part(tag->name)) {
    print(tag->ahead);
    is_over_ = false;
    elements_ += tag->text;
    if (format_->is_text(tag->name) && !tag->closes && !tag->is_empty) {
      open_text_ = tag->name;
    }
  } else {
    print(line);
  }
}

TestRecord CaseReader::end_case() {
  static const ListedTest nobody{.suite = "", .name = ""};
  pugi::xml_document elements;
  const std::string text = "<TestCase>" + elements_ + "</TestCase>";
  elements.load_buffer(text.data(), text.size());  // of what is broken: all ahead of that
  pugi::xml_document result;
  TestRecord record;
  record.test = running_.value_or(0);
  record.before = std::exchange(before_, {});
  record.output = std::exchange(output_, {});
  record.errors = std::exchange(errors_, {});
  format_->conclude(running_ ? list_->tests[*running_] : nobody, elements.first_child(),
                    load_tag(result_.empty() ? "<none>" : result_, result), record);
  record.began = started_;
  record.ended = std::chrono::steady_clock::now();
  ++cases_;
  skipped_ += record.outcome == Outcome::kSkipped ? 1 : 0;
  failed_ += record.outcome == Outcome::kFailed ? 1 : 0;
  in_case_ = false;
  running_.reset();
  ++progress_;
  return record;
}

void CaseReader::check_totals(const Tag& tag) {
  pugi::xml_document document;
  const pugi::xml_node totals = load_tag(tag.text, document);
  is_strange_ = is_strange_ || totals.attribute("failures").as_ullong() != failed_;
}

}  // namespace spore::gtest_runner
