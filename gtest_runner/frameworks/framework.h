// A test framework as spore-test sees it: how a program is asked for its tests, how it is told
// which ones to run, and how its answers are read. One file pair for each; the rest of the runner
// knows none by name.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gtest_flags.h"
#include "gtest_runner/reports/output_file.h"
#include "gtest_runner/reports/text_report.h"
#include "output_reader.h"
#include "test_list.h"

namespace spore::gtest_runner {

enum class FrameworkKind { kGoogleTest, kCatch2, kDoctest };

// The first of some tests, as many as can be told at once, in the program's own words.
struct Choice {
  std::size_t taken = 0;
  std::vector<std::string> arguments;
};

// One run of the program.
struct RunRequest {
  std::string report_path;  // in the guest; empty: no report is asked for
  int random_seed = 0;
};

struct ReportParts {
  TextSink& sink;
  const TestList& list;
  const Selection& selection;
  TextStyle style;
  RunHeading heading;
};

class Framework {
 public:
  Framework() = default;
  Framework(const Framework&) = delete;
  Framework& operator=(const Framework&) = delete;
  virtual ~Framework() = default;

  [[nodiscard]] virtual FrameworkKind kind() const noexcept = 0;

  // Whether the user's arguments only ask for something: help, a list. The program answers.
  [[nodiscard]] virtual bool only_asks() const { return false; }
  // The file that the user's arguments name for results, on this host.
  [[nodiscard]] virtual std::optional<OutputFile> output() const { return std::nullopt; }

  // These have the user's own arguments in them.
  [[nodiscard]] virtual std::vector<std::string> list_arguments(
      const std::string& report_path) const = 0;
  [[nodiscard]] virtual std::vector<std::string> run_arguments(const RunRequest& request) const = 0;

  // What a program printed that was run with list_arguments(). Hostile; no tests: it is no list.
  [[nodiscard]] virtual TestList parse_list(std::string_view printed) const = 0;
  // Whether a program that listed its tests may end with this status.
  [[nodiscard]] virtual bool lists_with(int status) const { return status == 0; }

  // Which of `tests` to run in at most `limit` bytes: at least one, if there is any.
  [[nodiscard]] virtual Choice choose(const TestList& list, const std::vector<std::size_t>& tests,
                                      std::size_t limit) const = 0;

  // What the user chose, for a program that deals its tests itself when GTEST_TOTAL_SHARDS says so;
  // nothing: this framework has no such programs.
  [[nodiscard]] virtual std::optional<std::vector<std::string>> choose_by_user() const {
    return std::nullopt;
  }

  [[nodiscard]] virtual std::unique_ptr<OutputReader> reader(const TestList& list) const = 0;
  [[nodiscard]] virtual std::unique_ptr<TextReport> report(const ReportParts& parts) const = 0;
};

std::string_view to_string(FrameworkKind kind) noexcept;  // for people
std::string_view name_of(FrameworkKind kind) noexcept;    // "gtest", "catch2" or "doctest"
std::optional<FrameworkKind> framework_named(std::string_view name);

// Whose help a program gave with --help; nothing: of none of them, or of more than one.
std::optional<FrameworkKind> framework_of_help(std::string_view help);

// `help`: what the program printed with --help, of Catch2: its commands differ by version.
// `report`: what is asked for with --gtest_output. kInvalidArgument when the user's arguments ask
// for what no run in children can give.
Result<std::unique_ptr<Framework>> make_framework(FrameworkKind kind, const GtestFlags& flags,
                                                  const std::optional<OutputFile>& report,
                                                  std::string_view help);

}  // namespace spore::gtest_runner
