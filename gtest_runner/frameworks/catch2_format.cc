#include "catch2_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace spore::gtest_runner {
namespace {

constexpr std::size_t kCatchWidth = 79;
constexpr int kAllSkipped = 4;  // the status of version 3
constexpr std::array<std::string_view, 11> kCatchTexts = {
    "Original", "Expanded", "Info",   "Warning", "Failure", "Exception", "FatalErrorCondition",
    "Skip",     "StdOut",   "StdErr", "failed"};
constexpr std::array<std::string_view, 7> kCatchGroups = {
    "Section", "Expression",        "OverallResults", "BenchmarkResults",
    "mean",    "standardDeviation", "outliers"};

std::string catch_indented(const std::string& text) {
  std::string result = "  ";
  for (const char c : text) {
    result += c;
    result += c == '\n' ? "  " : "";
  }
  return result + "\n";
}

constexpr std::size_t kDeepestSection = 100;  // sections in sections

// Goes through what is in a test, section by section.
class CatchTeller {
 public:
  CatchTeller(const ListedTest& test, TestRecord& record) : test_(test), record_(record) {}

  void tell(pugi::xml_node parent) {
    for (const pugi::xml_node node : parent.children()) {
      const std::string_view name = node.name();
      if (name == "Section" && sections_.size() >= kDeepestSection) {
        continue;  // no program's, but what a test printed
      }
      if (name == "Section") {
        sections_.emplace_back(node.attribute("name").value());
        tell(node);
        sections_.pop_back();
      } else if (name == "Info") {
        infos_ += catch_indented(text_of(node));
      } else if (name == "Expression") {
        expression(node);
      } else if (name == "Failure") {
        fail_at(node, "FAILED",
                text_of(node).empty()
                    ? "explicitly\n"
                    : "explicitly with message:\n" + catch_indented(text_of(node)));
      } else if (name == "Exception" || name == "FatalErrorCondition") {
        fail_at(node, "FAILED", reason(node));
      } else if (name == "Skip") {
        fail_at(node, "SKIPPED", "explicitly with message:\n" + catch_indented(text_of(node)));
      } else if (name == "Warning") {
        say(fmt::format("{}: warning:\n{}\n", place_of(node, test_),
                        catch_indented(text_of(node))));
      }
    }
  }

  void say(const std::string& text) {
    std::string head = std::string(kCatchWidth, '-') + "\n" + test_.name + "\n";
    for (const std::string& section : sections_) {
      head += catch_indented(section);
    }
    head += fmt::format("{}\n{}\n{}\n\n", std::string(kCatchWidth, '-'), place_of(test_),
                        std::string(kCatchWidth, '.'));
    record_.output = with_line_end(std::move(record_.output));
    if (head != head_) {
      record_.output += head;
      head_ = head;
    }
    record_.output += text;
  }

 private:
  static std::string reason(pugi::xml_node node) {
    const bool fatal = std::string_view(node.name()) == "FatalErrorCondition";
    return (fatal ? "due to a fatal error condition:\n"
                  : "due to unexpected exception with message:\n") +
           catch_indented(text_of(node));
  }

  void expression(pugi::xml_node node) {
    if (node.attribute("success").as_bool()) {
      infos_.clear();
      return;
    }
    const std::string original = text_of(node.child("Original"));
    const std::string expanded = text_of(node.child("Expanded"));
    std::string text = fmt::format("  {}( {} )\n", node.attribute("type").value(), original);
    if (expanded != original && !expanded.empty()) {
      text += "with expansion:\n" + catch_indented(expanded);
    }
    for (const char* name : {"Exception", "FatalErrorCondition"}) {
      if (const pugi::xml_node thrown = node.child(name)) {
        text += reason(thrown);
      }
    }
    fail_at(node, "FAILED", text);
  }

  void fail_at(pugi::xml_node node, std::string_view word, std::string text) {
    if (!infos_.empty()) {
      text += "with message:\n" + infos_;
      infos_.clear();
    }
    const std::string place = place_of(node, test_);
    say(fmt::format("{}: {}:\n{}\n", place, word, text));
    record_.failures.push_back({.location = place, .message = text});
  }

  const ListedTest& test_;
  TestRecord& record_;
  std::vector<std::string> sections_;
  std::string infos_;
  std::string head_;
};

}  // namespace

bool Catch2Format::is_root(std::string_view element) const {
  return element == "Catch" || element == "Catch2TestRun";
}

bool Catch2Format::is_text(std::string_view element) const {
  return std::find(kCatchTexts.begin(), kCatchTexts.end(), element) != kCatchTexts.end();
}

bool Catch2Format::is_part(std::string_view element) const {
  return is_text(element) ||
         std::find(kCatchGroups.begin(), kCatchGroups.end(), element) != kCatchGroups.end();
}

bool Catch2Format::accepts(int status, bool all_skipped) const {
  return status == 0 || (status == kAllSkipped && all_skipped);
}

void Catch2Format::conclude(const ListedTest& test, pugi::xml_node elements, pugi::xml_node result,
                            TestRecord& record) const {
  if (const std::string out = text_of(elements.child("StdOut")); !out.empty()) {
    record.output = with_line_end(std::move(record.output)) + out + "\n";
  }
  if (const std::string errors = text_of(elements.child("StdErr")); !errors.empty()) {
    record.errors += errors + "\n";
  }
  CatchTeller teller(test, record);
  teller.tell(elements);
  record.time_ms = milliseconds(result.attribute("durationInSeconds"));
  if (!is_true(result.attribute("success"))) {
    record.outcome = Outcome::kFailed;
    if (result && record.failures.empty() && result.attribute("success")) {
      const std::string text = "No assertion failed, and [!shouldfail] wants one.\n";
      teller.say(fmt::format("{}: FAILED:\n  {}\n", place_of(test), text));
      record.failures.push_back({.location = place_of(test), .message = text});
    }
  } else if (result.attribute("skips").as_uint() > 0) {
    record.outcome = Outcome::kSkipped;
  } else if (!record.failures.empty()) {
    record.expected_failure = true;
    record.failures.clear();
  }
}

std::string Catch2Format::tell_death(const ListedTest& test, const std::string& death) const {
  TestRecord record;
  CatchTeller(test, record)
      .say(fmt::format("{}: FAILED:\n{}\n", place_of(test), catch_indented(death)));
  return record.output;
}

std::string Catch2Format::summary(const CaseCounts& counts) const {
  std::string text = std::string(kCatchWidth, '=') + "\n";
  if (counts.all > 0 && counts.passed == counts.all) {
    return text + fmt::format("All tests passed ({} test case{})\n\n", counts.all,
                              counts.all == 1 ? "" : "s");
  }
  text += fmt::format("test cases: {} | {} passed", counts.all, counts.passed);
  text += counts.failed > 0 ? fmt::format(" | {} failed", counts.failed) : "";
  text += counts.skipped > 0 ? fmt::format(" | {} skipped", counts.skipped) : "";
  text += counts.expected > 0 ? fmt::format(" | {} failed as expected", counts.expected) : "";
  return text + "\n\n";
}

}  // namespace spore::gtest_runner
