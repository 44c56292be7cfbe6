#include "catch2.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <pugixml.hpp>

#include "case_reader.h"
#include "catch2_format.h"
#include "gtest_runner/reports/plain_report.h"

namespace spore::gtest_runner {
namespace {

constexpr std::array<std::string_view, 13> kCatchQuestions = {"-?",
                                                              "-h",
                                                              "--help",
                                                              "-l",
                                                              "--list-tests",
                                                              "-t",
                                                              "--list-tags",
                                                              "--list-reporters",
                                                              "--list-listeners",
                                                              "--list-test-names-only",
                                                              "--libidentify",
                                                              "--list-test-names",
                                                              "--version"};
// Options that have the next word.
constexpr std::array<std::string_view, 28> kCatchValues = {"-r",
                                                           "--reporter",
                                                           "-o",
                                                           "--out",
                                                           "-n",
                                                           "--name",
                                                           "-x",
                                                           "--abortx",
                                                           "-w",
                                                           "--warn",
                                                           "-d",
                                                           "--durations",
                                                           "-D",
                                                           "--min-duration",
                                                           "-f",
                                                           "--input-file",
                                                           "-c",
                                                           "--section",
                                                           "-v",
                                                           "--verbosity",
                                                           "--order",
                                                           "--rng-seed",
                                                           "--use-colour",
                                                           "--colour-mode",
                                                           "--benchmark-samples",
                                                           "--benchmark-resamples",
                                                           "--benchmark-warmup-time",
                                                           "--wait-for-keypress"};
// Replaced by ours.
constexpr std::array<std::string_view, 6> kCatchReplaced = {
    "-d", "--durations", "-D", "--min-duration", "-v", "--verbosity"};

template <typename Words>
bool is_one_of(const Words& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// What the user's arguments come to.
struct CatchArguments {
  std::vector<std::string> kept;   // in every run of the program
  std::vector<std::string> specs;  // which tests: in the list's run only
  std::string reporter;
  std::string out;
  bool only_asks = false;
};

Result<void> check_reporter(const CatchArguments& arguments) {
  const bool is_default = arguments.reporter.empty() || arguments.reporter == "console";
  if (is_default && arguments.out.empty()) {
    return {};
  }
  if (arguments.reporter == "junit" && !arguments.out.empty()) {
    return {};
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("-r {} {}: spore-test prints in the console's manner, and writes a file "
                          "with -r junit -o FILE; give these or none",
                          arguments.reporter.empty() ? "console" : arguments.reporter,
                          arguments.out.empty() ? "without -o" : "-o " + arguments.out));
}

// "junit::out=file" of version 3.
void take_reporter(std::string_view text, CatchArguments& arguments) {
  constexpr std::string_view kSeparator = "::";
  constexpr std::string_view kOut = "out=";
  const auto end = text.find(kSeparator);
  arguments.reporter = text.substr(0, end);
  while (text.find(kSeparator) != std::string_view::npos) {
    text.remove_prefix(text.find(kSeparator) + kSeparator.size());
    if (text.starts_with(kOut)) {
      arguments.out = text.substr(kOut.size(), text.find(kSeparator) - kOut.size());
    }
  }
}

Result<CatchArguments> parse_catch(const std::vector<std::string>& words) {
  CatchArguments result;
  for (std::size_t i = words.empty() || words[0] != "--" ? 0 : 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (!word.starts_with('-')) {
      result.specs.push_back(word);
      continue;
    }
    const auto separator = word.find_first_of("=:", word.starts_with("--") ? 2 : 1);
    const std::string name = word.substr(0, separator);
    if (is_one_of(kCatchQuestions, name)) {
      result.only_asks = true;
    }
    if (name == "--shard-count" || name == "--shard-index") {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: spore-test deals the tests itself; set GTEST_TOTAL_SHARDS and "
                              "GTEST_SHARD_INDEX for a part of them",
                              name));
    }
    std::vector<std::string> option = {word};
    std::string value = separator == std::string::npos ? "" : word.substr(separator + 1);
    if (separator == std::string::npos && is_one_of(kCatchValues, name) && i + 1 < words.size()) {
      value = words[++i];
      option.push_back(value);
    }
    if (name == "-r" || name == "--reporter") {
      take_reporter(value, result);
    } else if (name == "-o" || name == "--out") {
      result.out = value;
    } else if (!is_one_of(kCatchReplaced, name)) {
      auto& to = name == "-f" || name == "--input-file" ? result.specs : result.kept;
      to.insert(to.end(), option.begin(), option.end());
    }
  }
  if (!result.only_asks) {
    SPORE_TRY(check_reporter(result));
  }
  return result;
}

TestList parse_names(std::string_view text) {  // of version 2: "name\t@file:line"
  constexpr std::string_view kPlace = "\t@";
  TestList list;
  while (!text.empty()) {
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const auto at = line.rfind(kPlace);
    const auto colon = line.rfind(':');
    if (at == std::string_view::npos || colon == std::string_view::npos || colon < at) {
      continue;
    }
    ListedTest test;
    std::string_view name = line.substr(0, at);
    if (name.starts_with("\"#") && name.ends_with('"')) {
      name = name.substr(1, name.size() - 2);
    }
    test.name = name;
    test.file = line.substr(at + kPlace.size(), colon - at - kPlace.size());
    const std::string_view number = line.substr(colon + 1);
    const auto [rest, wrong] =
        std::from_chars(number.data(), number.data() + number.size(), test.line);
    if (wrong == std::errc() && rest == number.data() + number.size()) {
      list.tests.push_back(std::move(test));
    }
  }
  return list;
}

TestList parse_matching(std::string_view text) {  // of version 3: XML
  const auto begin = text.find("<?xml ");
  TestList list;
  pugi::xml_document document;
  if (begin == std::string_view::npos ||
      !document.load_buffer(text.data() + begin, text.size() - begin,
                            pugi::parse_default | pugi::parse_ws_pcdata_single)) {
    return list;
  }
  for (const pugi::xml_node node : document.child("MatchingTests").children("TestCase")) {
    const pugi::xml_node place = node.child("SourceInfo");
    list.tests.push_back({.suite = "",
                          .name = node.child_value("Name"),
                          .file = place.child_value("File"),
                          .line = place.child("Line").text().as_int()});
  }
  return list;
}

class Catch2 final : public Framework {
 public:
  Catch2(CatchArguments arguments, bool is_version_2)
      : arguments_(std::move(arguments)), is_version_2_(is_version_2) {}

  [[nodiscard]] FrameworkKind kind() const noexcept override { return FrameworkKind::kCatch2; }
  [[nodiscard]] bool only_asks() const override { return arguments_.only_asks; }
  [[nodiscard]] std::optional<OutputFile> output() const override {
    if (arguments_.out.empty()) {
      return std::nullopt;
    }
    return OutputFile{.format = "xml", .path = std::filesystem::absolute(arguments_.out)};
  }

  [[nodiscard]] std::vector<std::string> list_arguments(
      const std::string& /*report_path*/) const override {
    std::vector<std::string> words =
        is_version_2_ ? std::vector<std::string>{"--list-test-names-only", "--verbosity", "high"}
                      : std::vector<std::string>{"--list-tests", "--reporter", "xml"};
    words.insert(words.end(), arguments_.kept.begin(), arguments_.kept.end());
    words.insert(words.end(), arguments_.specs.begin(), arguments_.specs.end());
    return words;
  }
  // Version 2 has the number of tests for a status.
  [[nodiscard]] bool lists_with(int status) const override { return is_version_2_ || status == 0; }
  [[nodiscard]] TestList parse_list(std::string_view printed) const override {
    return is_version_2_ ? parse_names(printed) : parse_matching(printed);
  }

  [[nodiscard]] std::vector<std::string> run_arguments(
      const RunRequest& /*request*/) const override {
    std::vector<std::string> words = {"--reporter", "xml", "--durations", "yes"};
    words.insert(words.end(), arguments_.kept.begin(), arguments_.kept.end());
    return words;
  }
  [[nodiscard]] Choice choose(const TestList& list, const std::vector<std::size_t>& tests,
                              std::size_t limit) const override {
    Choice choice;
    std::string spec;
    for (const std::size_t test : tests) {
      const std::string next = catch2_spec(list.tests[test].name);
      if (choice.taken > 0 && spec.size() + 1 + next.size() > limit) {
        break;
      }
      spec += choice.taken > 0 ? "," : "";
      spec += next;
      ++choice.taken;
    }
    choice.arguments = {spec};
    return choice;
  }

  [[nodiscard]] std::unique_ptr<OutputReader> reader(const TestList& list) const override {
    return std::make_unique<CaseReader>(format_, list);
  }
  [[nodiscard]] std::unique_ptr<TextReport> report(const ReportParts& parts) const override {
    return std::make_unique<PlainReport>(format_, parts);
  }

 private:
  const CatchArguments arguments_;
  const bool is_version_2_;
  const Catch2Format format_;
};

}  // namespace

std::string catch2_spec(std::string_view name) {
  constexpr std::string_view kExclusion = "exclude:";
  std::string spec = "\"";
  if (name.starts_with(kExclusion)) {  // would be understood as "all but"
    spec += '*';
    name.remove_prefix(1);
  }
  for (const char c : name) {
    spec += c == '\\' || c == '"' || c == ',' ? std::string{'\\', c} : std::string{c};
  }
  return spec + '"';
}

Result<std::unique_ptr<Framework>> make_catch2(const std::vector<std::string>& arguments,
                                               std::string_view help) {
  SPORE_ASSIGN(CatchArguments parsed, parse_catch(arguments));
  const bool is_version_2 = help.find("Catch v2.") != std::string_view::npos;
  return std::make_unique<Catch2>(std::move(parsed), is_version_2);
}

}  // namespace spore::gtest_runner
