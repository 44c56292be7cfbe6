#include "doctest_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace spore::gtest_runner {
namespace {

constexpr std::size_t kDoctestWidth = 79;
constexpr std::array<std::string_view, 7> kDoctestTexts = {
    "Original", "Expanded", "Info", "Exception", "ExpectedException", "ExpectedExceptionString",
    "Text"};
constexpr std::array<std::string_view, 3> kDoctestGroups = {"SubCase", "Expression", "Message"};

bool has_word(std::string_view text, std::string_view word) {
  return text.find(word) != std::string_view::npos;
}

constexpr std::size_t kDeepestSubcase = 100;  // subcases in subcases

// Goes through what is in a test, subcase by subcase.
class DoctestTeller {
 public:
  DoctestTeller(const ListedTest& test, TestRecord& record) : test_(test), record_(record) {}

  void tell(pugi::xml_node parent) {
    for (const pugi::xml_node node : parent.children()) {
      const std::string_view name = node.name();
      if (name == "SubCase" && subcases_.size() >= kDeepestSubcase) {
        continue;  // no program's, but what a test printed
      }
      if (name == "SubCase") {
        subcases_.emplace_back(node.attribute("name").value());
        tell(node);
        subcases_.pop_back();
      } else if (name == "Expression") {
        expression(node);
      } else if (name == "Message") {
        const std::string_view type = node.attribute("type").value();
        if (type == "WARNING") {
          say(fmt::format("{}: MESSAGE: {}\n\n", place_of(node, test_),
                          text_of(node.child("Text"))));
        } else {
          fail_at(node, type, text_of(node.child("Text")) + "\n" + logged(node));
        }
      } else if (name == "Exception") {
        const bool crash = node.attribute("crash").as_bool();
        fail_at(node, crash ? "FATAL ERROR" : "ERROR",
                fmt::format("test case {}: {}\n", crash ? "CRASHED" : "THREW exception",
                            text_of(node)));
      }
    }
  }

  void say(const std::string& text) {
    std::string head = fmt::format("{}\n{}:\n", std::string(kDoctestWidth, '='), place_of(test_));
    head += test_.suite.empty() ? "" : fmt::format("TEST SUITE: {}\n", test_.suite);
    head += fmt::format("TEST CASE:  {}\n", test_.name);
    for (const std::string& subcase : subcases_) {
      head += "  " + subcase + "\n";
    }
    record_.output = with_line_end(std::move(record_.output));
    if (head != head_) {
      record_.output += head + "\n";
      head_ = head;
    }
    record_.output += text;
  }

 private:
  static std::string logged(pugi::xml_node node) {
    std::string text;
    for (const pugi::xml_node info : node.children("Info")) {
      text += (text.empty() ? "  logged: " : "          ") + text_of(info) + "\n";
    }
    return text;
  }

  static std::string verdict(pugi::xml_node node, std::string_view type) {
    const pugi::xml_node thrown = node.child("Exception");
    if (has_word(type, "THROWS") && !has_word(type, "NOTHROW")) {
      return thrown ? "threw a DIFFERENT exception: " + text_of(thrown) : "did NOT throw at all!";
    }
    return thrown ? "THREW exception: " + text_of(thrown) : "is NOT correct!";
  }

  void expression(pugi::xml_node node) {
    if (node.attribute("success").as_bool()) {
      return;
    }
    const std::string_view type = node.attribute("type").value();
    std::string original = text_of(node.child("Original"));
    for (const char* expected : {"ExpectedExceptionString", "ExpectedException"}) {
      if (const pugi::xml_node wanted = node.child(expected)) {
        original += ", " + text_of(wanted);
      }
    }
    std::string text = fmt::format("{}( {} ) {}\n", type, original, verdict(node, type));
    if (const pugi::xml_node expanded = node.child("Expanded")) {
      text += fmt::format("  values: {}( {} )\n", type, text_of(expanded));
    }
    text += logged(node);
    if (type.starts_with("WARN")) {
      say(fmt::format("{}: WARNING: {}\n", place_of(node, test_), text));
    } else {
      fail_at(node, type.starts_with("REQUIRE") ? "FATAL ERROR" : "ERROR", text);
    }
  }

  void fail_at(pugi::xml_node node, std::string_view word, const std::string& text) {
    const std::string place = place_of(node, test_);
    say(fmt::format("{}: {}: {}\n", place, word, text));
    record_.failures.push_back({.location = place, .message = text});
  }

  const ListedTest& test_;
  TestRecord& record_;
  std::vector<std::string> subcases_;
  std::string head_;
};

}  // namespace

bool DoctestFormat::is_root(std::string_view element) const {
  return element == "doctest";
}

bool DoctestFormat::is_text(std::string_view element) const {
  return std::find(kDoctestTexts.begin(), kDoctestTexts.end(), element) != kDoctestTexts.end();
}

bool DoctestFormat::is_part(std::string_view element) const {
  return is_text(element) ||
         std::find(kDoctestGroups.begin(), kDoctestGroups.end(), element) != kDoctestGroups.end();
}

bool DoctestFormat::accepts(int status, bool /*all_skipped*/) const {
  return status == 0;
}

void DoctestFormat::conclude(const ListedTest& test, pugi::xml_node elements, pugi::xml_node result,
                             TestRecord& record) const {
  DoctestTeller teller(test, record);
  teller.tell(elements);
  record.time_ms = milliseconds(result.attribute("duration"));
  const auto success = result.attribute("test_case_success");  // older versions do not say
  const bool passed =
      success ? is_true(success)
              : result && result.attribute("failures").as_uint() == 0 && record.failures.empty();
  if (!passed) {
    record.outcome = Outcome::kFailed;
    if (success && record.failures.empty()) {
      // Its reporter does not say which of them it was.
      const std::string text =
          "no assertion failed: a decorator of the test case says that it fails (timeout, "
          "should_fail or expected_failures)\n";
      teller.say(fmt::format("{}: ERROR: {}\n", place_of(test), text));
      record.failures.push_back({.location = place_of(test), .message = text});
    }
  } else if (!record.failures.empty()) {
    record.expected_failure = true;
    record.failures.clear();
  }
}

std::string DoctestFormat::tell_death(const ListedTest& test, const std::string& death) const {
  TestRecord record;
  DoctestTeller(test, record).say(fmt::format("{}: FATAL ERROR: {}\n\n", place_of(test), death));
  return record.output;
}

std::string DoctestFormat::summary(const CaseCounts& counts) const {
  return fmt::format(
      "{}\n[doctest] test cases: {} | {} passed | {} failed\n[doctest] Status: {}!\n",
      std::string(kDoctestWidth, '='), counts.all, counts.passed + counts.expected, counts.failed,
      counts.failed > 0 ? "FAILURE" : "SUCCESS");
}

}  // namespace spore::gtest_runner
