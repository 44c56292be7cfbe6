#include "json_summary.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

namespace spore::gtest_runner {
namespace {

class SummaryWriter {
 public:
  explicit SummaryWriter(const OwnReport& report) : report_(report) {}

  std::string write() const {
    nlohmann::ordered_json root = {{"version", 1},
                                   {"program", report_.program.path},
                                   {"mode", name_of(report_.dist)},
                                   {"jobs", report_.options.shards},
                                   {"repeat", std::max(1U, report_.options.repeat)},
                                   {"began", json_timestamp(report_.began_ms)},
                                   {"seconds", rounded(report_.seconds)},
                                   {"status", status_of(report_)},
                                   {"exit_status", report_.exit_status}};
    if (!report_.error.empty()) {
      root["error"] = report_.error;
    }
    root["start"] = {{"how", report_.warm               ? "kept machine"
                             : report_.costs.boot_s > 0 ? "booted"
                                                        : "none"},
                     {"engine", report_.costs.engine},
                     {"changed", report_.changed}};
    root["phases"] = phases();
    root["counts"] = counts();
    root["children"] = children();
    root["tests"] = tests();
    return root.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }

 private:
  static double rounded(double seconds) { return std::round(seconds * 1e4) / 1e4; }

  [[nodiscard]] std::string name_of_test(std::size_t test) const {
    return report_.list.tests[test].full_name();
  }

  [[nodiscard]] nlohmann::ordered_json phases() const {
    auto phases = nlohmann::ordered_json::array();
    for (const PhaseStory& phase : report_.story.phases) {
      phases.push_back({{"name", phase.name},
                        {"began", rounded(phase.began)},
                        {"seconds", rounded(phase.seconds)}});
    }
    return phases;
  }

  [[nodiscard]] nlohmann::ordered_json counts() const {
    std::map<std::string, std::size_t> found;
    for (const TestStory& test : report_.story.tests) {
      ++found[outcome_of(test)];
    }
    const auto& reported = report_.selection.reported;
    const auto disabled =
        static_cast<std::size_t>(
            std::count_if(reported.begin(), reported.end(),
                          [&](std::size_t test) { return report_.list.tests[test].disabled; })) *
        (report_.options.gtest.also_run_disabled_tests ? 0 : 1);
    return {{"tests", report_.story.tests.size()},
            {"passed", found["passed"]},
            {"failed", found["failed"]},
            {"crashed", found["crashed"]},
            {"skipped", found["skipped"]},
            {"not_run", found["not run"]},
            {"disabled", disabled},
            {"children", report_.costs.children},
            {"resets", report_.costs.resets}};
  }

  [[nodiscard]] nlohmann::ordered_json children() const {
    auto children = nlohmann::ordered_json::array();
    for (const ChildStory& child : report_.story.children) {
      nlohmann::ordered_json one = {{"index", children.size()},
                                    {"attempt", child.attempt + 1},
                                    {"began", rounded(child.forked)},
                                    {"ended", rounded(child.ended)},
                                    {"resets", child.resets.size()},
                                    {"lost", nlohmann::ordered_json::array()},
                                    {"tests", nlohmann::ordered_json::array()}};
      for (const auto& [at, why] : child.losses) {
        one["lost"].push_back({{"at", rounded(at)}, {"why", why}});
      }
      if (child.private_bytes) {
        one["private_bytes"] = *child.private_bytes;
      }
      children.push_back(std::move(one));
    }
    for (const TestStory& test : report_.story.tests) {
      if (test.child) {
        children[*test.child]["tests"].push_back(name_of_test(test.test));
      }
    }
    return children;
  }

  [[nodiscard]] nlohmann::ordered_json tests() const {
    auto tests = nlohmann::ordered_json::array();
    for (const TestStory& test : report_.story.tests) {
      std::string outcome = outcome_of(test);
      std::replace(outcome.begin(), outcome.end(), ' ', '_');
      nlohmann::ordered_json one = {
          {"name", name_of_test(test.test)}, {"outcome", outcome}, {"attempt", test.attempt + 1}};
      if (test.child) {
        one["child"] = *test.child;
      }
      if (test.ended > 0) {
        one["began"] = rounded(test.began);
        one["seconds"] = rounded(test.seconds);
      }
      for (const Failure& failure : test.failures) {
        one["failures"].push_back({{"where", failure.location}, {"message", failure.message}});
      }
      if (!test.kept.empty()) {
        std::error_code error;
        one["kept"] = std::filesystem::absolute(test.kept, error).string();
      }
      tests.push_back(std::move(one));
    }
    return tests;
  }

  const OwnReport& report_;
};

}  // namespace

std::string json_summary(const OwnReport& report) {
  return SummaryWriter(report).write();
}

}  // namespace spore::gtest_runner
