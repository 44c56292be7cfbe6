#include "googletest.h"

#include <fmt/format.h>

#include "output_parser.h"

namespace spore::gtest_runner {
namespace {

class GoogleTest final : public Framework {
 public:
  GoogleTest(const GtestFlags& flags, const std::optional<OutputFile>& report)
      : flags_(flags), report_(report) {}

  [[nodiscard]] FrameworkKind kind() const noexcept override { return FrameworkKind::kGoogleTest; }

  // Without the user's filter, so that one list does for every filter.
  [[nodiscard]] std::vector<std::string> list_arguments(
      const std::string& report_path) const override {
    std::vector<std::string> arguments = {"--gtest_list_tests", "--gtest_filter=*",
                                          "--gtest_color=no"};
    add_report(arguments, report_path);
    return with_rest(std::move(arguments));
  }

  [[nodiscard]] std::vector<std::string> run_arguments(const RunRequest& request) const override {
    std::vector<std::string> arguments = {"--gtest_color=no", "--gtest_print_time=1"};
    if (flags_.also_run_disabled_tests) {
      arguments.emplace_back("--gtest_also_run_disabled_tests");
    }
    if (flags_.shuffle) {
      arguments.emplace_back("--gtest_shuffle");
      arguments.push_back(fmt::format("--gtest_random_seed={}", request.random_seed));
    }
    add_report(arguments, request.report_path);
    return with_rest(std::move(arguments));
  }

  [[nodiscard]] TestList parse_list(std::string_view printed) const override {
    return parse_test_list(printed);
  }

  [[nodiscard]] Choice choose(const TestList& list, const std::vector<std::size_t>& tests,
                              std::size_t limit) const override {
    std::string filter = "-*";
    const std::size_t taken = tests.empty() ? 0 : make_filter(list, tests, limit, filter);
    return {.taken = taken, .arguments = {"--gtest_filter=" + filter}};
  }

  [[nodiscard]] std::optional<std::vector<std::string>> choose_by_user() const override {
    return std::vector<std::string>{"--gtest_filter=" + flags_.filter};
  }

  [[nodiscard]] std::unique_ptr<OutputReader> reader(const TestList& list) const override {
    return std::make_unique<OutputParser>(list, std::vector<std::size_t>());
  }
  [[nodiscard]] std::unique_ptr<TextReport> report(const ReportParts& parts) const override {
    return std::make_unique<TextReport>(parts.sink, parts.list, parts.selection, parts.style,
                                        parts.heading);
  }

 private:
  void add_report(std::vector<std::string>& arguments, const std::string& path) const {
    if (report_ && !path.empty()) {
      arguments.push_back(fmt::format("--gtest_output={}:{}", report_->format, path));
    }
  }
  [[nodiscard]] std::vector<std::string> with_rest(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), flags_.rest.begin(), flags_.rest.end());
    return arguments;
  }

  const GtestFlags& flags_;
  const std::optional<OutputFile> report_;
};

}  // namespace

std::unique_ptr<Framework> make_googletest(const GtestFlags& flags,
                                           const std::optional<OutputFile>& report) {
  return std::make_unique<GoogleTest>(flags, report);
}

}  // namespace spore::gtest_runner
