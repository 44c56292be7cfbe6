#include "html_page.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "page_text.h"

namespace spore::gtest_runner {
namespace {

constexpr std::size_t kShownRuns = 50'000;     // rows of tests; failures come first
constexpr std::size_t kShownFailures = 1'000;  // with their texts
constexpr std::size_t kMostOpen = 10;          // of them shown without a click
constexpr std::size_t kShownChildren = 256;    // in the tree and in the time line
constexpr std::size_t kShownResets = 20'000;   // in the time line
constexpr std::size_t kLongestShown = 1'000;   // bytes of a test's name
// What comes first lies on top in the time line.
constexpr std::string_view kShownOutcomes[] = {"crashed", "failed", "skipped", "passed"};

std::string number_of(std::size_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : noun == "child" ? "ren" : "s");
}

double milliseconds(double seconds) {
  return std::round(seconds * 1e4) / 10;
}

class PageWriter {
 public:
  explicit PageWriter(const OwnReport& report) : report_(report), story_(report.story) {
    for (const TestStory& test : story_.tests) {
      ++counts_[outcome_of(test)];
      if (test.outcome != Outcome::kNotRun && test.child) {
        runs_.push_back(&test);
      }
    }
    std::stable_sort(runs_.begin(), runs_.end(), [](const TestStory* a, const TestStory* b) {
      const auto key = [](const TestStory* one) {
        return std::pair(one->outcome != Outcome::kFailed, one->began);
      };
      return key(a) < key(b);
    });
    ran_ = runs_.size();
    runs_.resize(std::min(ran_, kShownRuns));
    for (const TestStory* run : runs_) {
      if (!run->texts.empty() && failed_.size() < kShownFailures) {
        numbers_[run] = failed_.size();
        failed_.push_back(run);
      }
    }
  }

  std::string write() const {
    const std::map<std::string_view, std::string> parts = {
        {"policy", fmt::format("default-src 'none'; style-src 'unsafe-inline'; script-src '{}'",
                               script_hash())},
        {"status", escaped(status_of(report_))},
        {"class", report_.exit_status == 0 ? "good" : "bad"},
        {"when", fmt::format("{:%Y-%m-%d %H:%M:%S %z}",
                             fmt::localtime(static_cast<std::time_t>(report_.began_ms / 1000)))},
        {"numbers", numbers()},
        {"facts", facts()},
        {"tree", tree()},
        {"failures", failures()},
        {"notes", notes()},
        {"data", in_script(data())}};
    // In one pass: what is put in is not looked at again.
    std::string page;
    std::string_view rest = kPageTemplate;
    for (auto at = rest.find("@@"); at != std::string_view::npos; at = rest.find("@@")) {
      page += rest.substr(0, at);
      const auto end = rest.find("@@", at + 2);
      page += parts.at(rest.substr(at + 2, end - at - 2));
      rest.remove_prefix(end + 2);
    }
    return page.append(rest);
  }

 private:
  [[nodiscard]] std::string test_name(std::size_t test) const {
    const std::string name = report_.list.tests[test].full_name();
    return visible(name.size() > kLongestShown ? name.substr(0, kLongestShown) + " ..." : name);
  }
  [[nodiscard]] std::string run_name(const TestStory& run) const {
    const bool many = report_.options.repeat > 1 || report_.options.gtest.repeat != 1;
    return test_name(run.test) + (many ? fmt::format(" (run {})", run.attempt + 1) : "");
  }

  static std::string number(const std::string& value, std::string_view label, bool marked = false) {
    return fmt::format("<div{}><dd>{}</dd><dt>{}</dt></div>",
                       marked ? fmt::format(" data-outcome={}", label) : "", escaped(value),
                       escaped(label));
  }
  [[nodiscard]] std::string numbers() const {
    std::string text = number(std::to_string(ran_), ran_ == 1 ? "test ran" : "tests ran");
    for (const std::string_view outcome : kShownOutcomes) {
      if (const auto found = counts_.find(std::string(outcome)); found != counts_.end()) {
        text += number(std::to_string(found->second), outcome, true);
      }
    }
    if (const auto found = counts_.find("not run"); found != counts_.end()) {
      text += number(std::to_string(found->second), "not run");
    }
    const std::size_t forks = story_.children.size();
    text += number(std::to_string(forks), forks == 1 ? "fork" : "forks");
    if (const std::size_t resets = report_.costs.resets; resets > 0) {
      text += number(std::to_string(resets), resets == 1 ? "reset" : "resets");
    }
    const double first = story_.children.empty() ? report_.seconds : story_.children[0].forked;
    text += number(fmt::format("{:.2f} s", first), "prepared, once");
    return text + number(fmt::format("{:.2f} s", report_.costs.tests_s), "of tests");
  }

  [[nodiscard]] std::string facts() const {
    std::string text;
    const auto add = [&](std::string_view name, const std::string& value) {
      text += fmt::format("<tr><th scope=row>{}</th><td>{}</td></tr>", name, escaped(value));
    };
    add("program", report_.program.path);
    add("mode", fmt::format("{}, {} at a time", name_of(report_.dist),
                            number_of(report_.options.shards, "child")));
    if (report_.costs.children > 0) {
      add("costs", closing_line(report_.costs));
      for (const std::string& line : phase_lines(report_.costs)) {
        add("phases", line);
      }
    }
    if (!report_.changed.empty()) {
      add("changed",
          fmt::format("since the machine of the last run: {}", fmt::join(report_.changed, ", ")));
    }
    return text;
  }

  [[nodiscard]] std::string tree() const {
    const RunCosts& costs = report_.costs;
    if (!report_.warm && costs.boot_s <= 0) {
      return "<p>No machine was booted.</p>";
    }
    std::string text = fmt::format(
        "<ul class=tree><li><b>machine</b> <span>{}</span>",
        escaped(report_.warm ? fmt::format("kept by an earlier run, resumed in {:.2f} s ({})",
                                           costs.resume_s, costs.engine)
                             : fmt::format("booted in {:.2f} s ({})", costs.boot_s, costs.engine)));
    if (report_.warm || costs.capture_ms > 0) {
      const char* label = report_.program.has_fixture_point ? "fixture point" : "captured machine";
      const std::string how = report_.warm ? "as it was kept"
                              : costs.setup_s > 0
                                  ? fmt::format("set up in {:.2f} s, captured in {:.1f} ms",
                                                costs.setup_s, costs.capture_ms)
                                  : fmt::format("captured in {:.1f} ms", costs.capture_ms);
      text += fmt::format("<ul><li class=spore><b>{}</b> <span>{}</span><ul>", label, how);
      for (std::size_t i = 0; i < std::min(story_.children.size(), kShownChildren); ++i) {
        text += child(i);
      }
      if (story_.children.size() > kShownChildren) {
        text += fmt::format("<li>and {} more</li>", story_.children.size() - kShownChildren);
      }
      text += "</ul></li></ul>";
    }
    return text + "</li></ul>";
  }

  [[nodiscard]] std::string child(std::size_t index) const {
    const ChildStory& one = story_.children[index];
    std::size_t tests = 0;
    std::size_t failures = 0;
    for (const TestStory& test : story_.tests) {
      tests += test.child == index ? 1 : 0;
      failures += test.child == index && test.outcome == Outcome::kFailed ? 1 : 0;
    }
    std::string what =
        fmt::format("forked after {:.2f} s, {}", one.forked, number_of(tests, "test"));
    what += failures > 0 ? fmt::format(", {} failed", failures) : "";
    what += one.resets.empty() ? "" : ", " + number_of(one.resets.size(), "reset");
    if (one.private_bytes) {
      what += fmt::format(", {:.1f} MiB of its own",
                          static_cast<double>(*one.private_bytes) / static_cast<double>(kMiB));
    }
    std::string events;
    for (const auto& [at, why] : one.losses) {
      events += fmt::format("<li class=bad>lost: {}</li>", escaped(why));
    }
    for (const KeptStory& kept : one.kept) {
      events +=
          fmt::format("<li>kept {}: {}</li>", escaped(test_name(kept.test)), resume(kept.path));
    }
    return fmt::format("<li><b>child {}</b> <span>{}</span>{}</li>", index, what,
                       events.empty() ? "" : "<ul>" + events + "</ul>");
  }

  static std::string resume(const std::string& path) {
    return fmt::format("<code>spore run --from {} -- sh</code>", escaped(path));
  }

  [[nodiscard]] std::string failures() const {
    std::string text;
    for (std::size_t i = 0; i < failed_.size(); ++i) {
      const TestStory& run = *failed_[i];
      const std::string outcome = outcome_of(run);
      text += fmt::format(
          "<details id=failure-{}{}><summary><i data-outcome={}>{}</i> <code>{}</code> "
          "<span>child {}</span></summary>",
          i, i < kMostOpen ? " open" : "", outcome, outcome, escaped(run_name(run)), *run.child);
      if (!run.kept.empty()) {
        text += fmt::format("<p>Its machine is kept: {}</p>", resume(run.kept));
      }
      for (const auto& [title, content] : run.texts) {
        text += fmt::format("<h3>{}</h3><pre>{}</pre>", escaped(title), escaped(content));
      }
      text += "</details>";
    }
    return text.empty() ? "<p>None.</p>" : text;
  }

  [[nodiscard]] std::string notes() const {
    std::string text;
    const auto add = [&](const std::string& note) { text += "<p>" + escaped(note) + "</p>"; };
    if (!report_.error.empty()) {
      add(report_.error);
    }
    if (report_.late) {
      add("The time of --timeout-all was over before all tests were run.");
    }
    if (ran_ > kShownRuns) {
      add(fmt::format("{} runs of tests are left out: they are too many.", ran_ - kShownRuns));
    }
    if (failed_.size() == kShownFailures) {
      add(fmt::format("Only the first {} failures have their texts here.", kShownFailures));
    }
    if (story_.children.size() > kShownChildren) {
      add(fmt::format("The time line shows the first {} children.", kShownChildren));
    }
    return text;
  }

  // What the script draws; times in milliseconds.
  [[nodiscard]] nlohmann::ordered_json data() const {
    nlohmann::ordered_json data = {{"outcomes", kShownOutcomes},
                                   {"phases", nlohmann::ordered_json::array()},
                                   {"machines", nlohmann::ordered_json::array()},
                                   {"runs", nlohmann::ordered_json::array()}};
    for (const PhaseStory& phase : story_.phases) {
      if (phase.began <= first_fork()) {
        data["phases"].push_back(
            {phase.name, milliseconds(phase.began), milliseconds(phase.seconds)});
      }
    }
    std::size_t resets_left = kShownResets;
    for (const ChildStory& one : story_.children) {
      if (data["machines"].size() == kShownChildren) {
        break;
      }
      nlohmann::ordered_json machine = {milliseconds(one.forked), milliseconds(one.ended)};
      for (int i = 0; i < 3; ++i) {
        machine.push_back(nlohmann::ordered_json::array());
      }
      for (std::size_t i = 0; i < std::min(one.resets.size(), resets_left); ++i) {
        machine[2].push_back(milliseconds(one.resets[i]));
      }
      resets_left -= machine[2].size();
      for (const auto& [at, why] : one.losses) {
        machine[3].push_back({milliseconds(at), visible(why)});
      }
      for (const KeptStory& kept : one.kept) {
        machine[4].push_back({milliseconds(kept.at), test_name(kept.test)});
      }
      data["machines"].push_back(std::move(machine));
    }
    for (const TestStory* run : runs_) {
      const auto* outcome =
          std::find(std::begin(kShownOutcomes), std::end(kShownOutcomes), outcome_of(*run));
      const auto failure = numbers_.find(run);
      data["runs"].push_back(
          {run_name(*run), outcome - std::begin(kShownOutcomes), *run->child,
           milliseconds(run->began), milliseconds(run->ended), milliseconds(run->seconds),
           failure == numbers_.end() ? -1 : static_cast<std::int64_t>(failure->second)});
    }
    return data;
  }

  // The script draws what is done once, before the first fork.
  [[nodiscard]] double first_fork() const {
    return story_.children.empty() ? report_.seconds : story_.children[0].forked;
  }

  const OwnReport& report_;
  const StoryTold& story_;
  std::map<std::string, std::size_t> counts_;
  std::vector<const TestStory*> runs_;    // that are shown
  std::vector<const TestStory*> failed_;  // with texts
  std::map<const TestStory*, std::size_t> numbers_;
  std::size_t ran_ = 0;
};

}  // namespace

std::string html_page(const OwnReport& report) {
  return PageWriter(report).write();
}

}  // namespace spore::gtest_runner
