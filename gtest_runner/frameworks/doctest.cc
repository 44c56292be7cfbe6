#include "doctest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <map>
#include <pugixml.hpp>

#include "case_reader.h"
#include "doctest_format.h"
#include "gtest_runner/reports/plain_report.h"

namespace spore::gtest_runner {
namespace {

constexpr std::array<std::string_view, 15> kDoctestQuestions = {"help", "h",
                                                                "?",    "version",
                                                                "v",    "count",
                                                                "c",    "list-test-cases",
                                                                "ltc",  "list-test-suites",
                                                                "lts",  "list-reporters",
                                                                "lr",   "no-run",
                                                                "nr"};
// Replaced by ours: how it reports, and which tests of those in the list it runs.
constexpr std::array<std::string_view, 10> kDoctestReplaced = {
    "duration", "d", "quiet", "q", "reporters", "r", "out", "o", "test-case", "tc"};

template <typename Words>
bool has(const Words& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

struct DoctestArguments {
  std::vector<std::string> kept;   // in every run of the program
  std::vector<std::string> names;  // --test-case: in the list's run only
  std::string reporter;
  std::string out;
  std::size_t first = 0;
  std::size_t last = SIZE_MAX;
  bool only_asks = false;
  bool is_case_sensitive = false;
};

struct DoctestOption {
  std::string name;
  std::string value;
};

// "--dt-test-case=x", "-tc=x" and all between; no name: none of its options.
DoctestOption option_of(std::string_view word) {
  constexpr std::string_view kPrefix = "dt-";
  if (!word.starts_with('-')) {
    return {};
  }
  word.remove_prefix(std::min(word.find_first_not_of('-'), word.size()));
  if (word.starts_with(kPrefix)) {
    word.remove_prefix(kPrefix.size());
  }
  const auto equals = word.find('=');
  return {.name = std::string(word.substr(0, equals)),
          .value = equals == std::string_view::npos ? "" : std::string(word.substr(equals + 1))};
}

Result<std::size_t> number_of(const DoctestOption& option) {
  std::size_t value = 0;
  const char* const end = option.value.data() + option.value.size();
  const auto [rest, wrong] = std::from_chars(option.value.data(), end, value);
  if (wrong != std::errc() || rest != end) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("-{}={}: give a number", option.name, option.value));
  }
  return value;
}

Result<DoctestArguments> parse_doctest(const std::vector<std::string>& words) {
  DoctestArguments result;
  for (std::size_t i = words.empty() || words[0] != "--" ? 0 : 1; i < words.size(); ++i) {
    const DoctestOption option = option_of(words[i]);
    result.only_asks = result.only_asks || has(kDoctestQuestions, option.name);
    if (option.name == "case-sensitive" || option.name == "cs") {
      constexpr std::array<std::string_view, 5> kYes = {"", "1", "true", "yes", "on"};
      result.is_case_sensitive = has(kYes, option.value);
    }
    if (option.name == "reporters" || option.name == "r") {
      result.reporter = option.value;
    } else if (option.name == "out" || option.name == "o") {
      result.out = option.value;
    } else if (option.name == "test-case" || option.name == "tc") {
      result.names.push_back(words[i]);
    } else if (option.name == "first" || option.name == "f") {
      SPORE_ASSIGN(result.first, number_of(option));
    } else if (option.name == "last" || option.name == "l") {
      SPORE_ASSIGN(result.last, number_of(option));
    } else if (!has(kDoctestReplaced, option.name)) {
      result.kept.push_back(words[i]);
    }
  }
  const bool writes = result.reporter == "junit" && !result.out.empty();
  const bool is_default =
      (result.reporter.empty() || result.reporter == "console") && result.out.empty();
  if (!result.only_asks && !writes && !is_default) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("-r={} {}: spore-test prints in the console's manner, and writes a file "
                    "with -r=junit -o=FILE; give these or none",
                    result.reporter.empty() ? "console" : result.reporter,
                    result.out.empty() ? "without -o" : "-o=" + result.out));
  }
  return result;
}

std::string escaped(std::string_view name) {
  std::string pattern;
  for (const char c : name) {
    pattern += c == '\\' || c == ',' ? std::string{'\\', c} : std::string{c};
  }
  return pattern;
}

// A filter that is a test's name may take other tests too: those with the same name, in whatever
// case, and what * and ? in it stand for. Such a test gets its place among them.
void number_tests(std::vector<ListedTest>& tests, bool is_case_sensitive) {
  std::vector<std::string> names;  // as filters see them
  std::map<std::string, std::vector<std::size_t>> by_name;
  for (const ListedTest& test : tests) {
    std::string name = test.name;
    if (!is_case_sensitive) {
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    }
    by_name[name].push_back(names.size());
    names.push_back(std::move(name));
  }
  for (const auto& [name, same] : by_name) {
    std::vector<std::size_t> taken = same;
    if (name.empty() || name.find_first_of("*?") != std::string::npos) {
      taken.clear();
      for (std::size_t i = 0; i < tests.size(); ++i) {
        if (name.empty() || matches_pattern(names[i], name)) {  // no name is no filter
          taken.push_back(i);
        }
      }
    }
    for (const std::size_t test : same) {
      const auto at = std::find(taken.begin(), taken.end(), test) - taken.begin();
      tests[test].ordinal = name.empty() || taken.size() > 1 ? static_cast<std::size_t>(at) + 1 : 0;
    }
  }
}

// With the prefix that a program has them by which was built without the short ones.
class Doctest final : public Framework {
 public:
  explicit Doctest(DoctestArguments arguments) : arguments_(std::move(arguments)) {}

  [[nodiscard]] FrameworkKind kind() const noexcept override { return FrameworkKind::kDoctest; }
  [[nodiscard]] bool only_asks() const override { return arguments_.only_asks; }
  [[nodiscard]] std::optional<OutputFile> output() const override {
    if (arguments_.out.empty()) {
      return std::nullopt;
    }
    return OutputFile{.format = "xml", .path = std::filesystem::absolute(arguments_.out)};
  }

  [[nodiscard]] std::vector<std::string> list_arguments(
      const std::string& /*report_path*/) const override {
    std::vector<std::string> words = {"--dt-list-test-cases", "--dt-reporters=xml"};
    words.insert(words.end(), arguments_.kept.begin(), arguments_.kept.end());
    words.insert(words.end(), arguments_.names.begin(), arguments_.names.end());
    return words;
  }
  [[nodiscard]] TestList parse_list(std::string_view printed) const override;

  [[nodiscard]] std::vector<std::string> run_arguments(
      const RunRequest& /*request*/) const override {
    std::vector<std::string> words = {"--dt-reporters=xml", "--dt-duration=true"};
    words.insert(words.end(), arguments_.kept.begin(), arguments_.kept.end());
    return words;
  }
  [[nodiscard]] Choice choose(const TestList& list, const std::vector<std::size_t>& tests,
                              std::size_t limit) const override;

  [[nodiscard]] std::unique_ptr<OutputReader> reader(const TestList& list) const override {
    return std::make_unique<CaseReader>(format_, list);
  }
  [[nodiscard]] std::unique_ptr<TextReport> report(const ReportParts& parts) const override {
    return std::make_unique<PlainReport>(format_, parts);
  }

 private:
  const DoctestArguments arguments_;
  const DoctestFormat format_;
};

TestList Doctest::parse_list(std::string_view printed) const {
  const auto begin = printed.find("<?xml ");
  TestList list;
  pugi::xml_document document;
  if (begin == std::string_view::npos ||
      !document.load_buffer(printed.data() + begin, printed.size() - begin)) {
    return list;
  }
  for (const pugi::xml_node node : document.child("doctest").children("TestCase")) {
    list.tests.push_back({.suite = node.attribute("testsuite").value(),
                          .name = node.attribute("name").value(),
                          .file = node.attribute("filename").value(),
                          .line = node.attribute("line").as_int()});
  }
  number_tests(list.tests, arguments_.is_case_sensitive);
  // A range that ends before it begins is none.
  std::vector<ListedTest> within;
  for (std::size_t i = 0; i < list.tests.size(); ++i) {
    const bool is_late = arguments_.last < i + 1 && arguments_.first <= arguments_.last;
    if (!is_late && arguments_.first <= i + 1) {
      within.push_back(std::move(list.tests[i]));
    }
  }
  return {.tests = std::move(within)};
}

// A test whose name takes others too goes alone, by its place among them.
Choice Doctest::choose(const TestList& list, const std::vector<std::size_t>& tests,
                       std::size_t limit) const {
  Choice choice;
  std::string names;
  for (const std::size_t test : tests) {
    const ListedTest& listed = list.tests[test];
    const std::string next = escaped(listed.name);
    if (choice.taken > 0 && (listed.ordinal > 0 || names.size() + 1 + next.size() > limit)) {
      break;
    }
    names += choice.taken > 0 ? "," : "";
    names += next;
    ++choice.taken;
    if (listed.ordinal > 0) {
      choice.arguments = {fmt::format("--dt-first={}", listed.ordinal),
                          fmt::format("--dt-last={}", listed.ordinal)};
      break;
    }
  }
  if (!names.empty()) {
    choice.arguments.push_back("--dt-test-case=" + names);
  }
  return choice;
}

}  // namespace

Result<std::unique_ptr<Framework>> make_doctest(const std::vector<std::string>& arguments) {
  SPORE_ASSIGN(DoctestArguments parsed, parse_doctest(arguments));
  return std::make_unique<Doctest>(std::move(parsed));
}

}  // namespace spore::gtest_runner
