// --json and --html: of runs, and of runs that never happened.
#include "gtest_runner/reports/own_report.h"

#include "gtest_runner/reports/html_page.h"
#include "gtest_runner/reports/json_summary.h"
#include "gtest_runner/reports/page_text.h"
#include "unit/gtest_runner/runner_harness.h"

namespace spore::gtest_runner {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kHostile =
    "</script><img src=x onerror=\"console.error('owned')\"><!--<script>'&amp;\"@@data@@";

nlohmann::json read_json(const std::string& path) {
  return nlohmann::json::parse(slurp(path));
}

std::vector<std::string> phase_names(const nlohmann::json& json) {
  std::vector<std::string> names;
  for (const auto& phase : json["phases"]) {
    names.push_back(phase["name"]);
  }
  return names;
}

TEST_F(RunnerTest, TheSummaryTellsOfEveryTestAndChild) {
  options_.json = directory_ + "/run.json";
  options_.dist = Dist::kEach;
  options_.shards = 2;
  options_.setup = "true";
  options_.keep_failed = directory_ + "/kept";
  options_.gtest.filter = "Dying.*";
  ASSERT_EQ(run("runner_subject_dying").value(), 1);
  const auto json = read_json(options_.json);
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["program"], path_of("runner_subject_dying"));
  EXPECT_EQ(json["mode"], "each");
  EXPECT_EQ(json["jobs"], 2);
  EXPECT_EQ(json["status"], "failed");
  EXPECT_EQ(json["exit_status"], 1);
  EXPECT_EQ(json["start"]["how"], "booted");
  EXPECT_EQ(json["start"]["engine"], "fake");
  EXPECT_THAT(phase_names(json), ElementsAre("boot", "listing", "set-up", "capture"));
  EXPECT_EQ(json["counts"],
            nlohmann::json::parse(R"({"tests": 6, "passed": 3, "failed": 1, "crashed": 2,
              "skipped": 0, "not_run": 0, "disabled": 0, "children": 2, "resets": 4})"));
  ASSERT_EQ(json["children"].size(), 2U);
  EXPECT_EQ(json["children"][0]["tests"].size() + json["children"][1]["tests"].size(), 6U);
  ASSERT_EQ(json["tests"].size(), 6U);
  for (const auto& test : json["tests"]) {
    const auto& child = json["children"][test["child"].get<std::size_t>()];
    EXPECT_LE(child["began"], test["began"]);
    EXPECT_LE(test["began"], child["ended"]);
    EXPECT_THAT(child["tests"], ::testing::Contains(test["name"]));
  }
  const auto& crashed = json["tests"][1];
  EXPECT_EQ(crashed["name"], "Dying.B");
  EXPECT_EQ(crashed["outcome"], "crashed");
  EXPECT_EQ(crashed["kept"], directory_ + "/kept/1/Dying.B");
  EXPECT_THAT(crashed["failures"][0]["message"].get<std::string>(), HasSubstr("before the end"));
  EXPECT_THAT(crashed["failures"][0]["where"].get<std::string>(), HasSubstr("subject_dying.cc:"));
  EXPECT_THAT(crashed["failures"][1]["message"].get<std::string>(), HasSubstr("signal 11"));
  EXPECT_FALSE(json["tests"][0].contains("failures"));
}

TEST_F(RunnerTest, TheSummaryTellsOfEveryRunOfARepeatedTest) {
  options_.json = directory_ + "/run.json";
  options_.repeat = 3;
  options_.dist = Dist::kEach;
  options_.gtest.filter = "Plain.Fails:Plain.Skips";
  ASSERT_EQ(run("runner_subject_mixed").value(), 1);
  const auto json = read_json(options_.json);
  EXPECT_EQ(json["repeat"], 3);
  EXPECT_EQ(json["counts"]["failed"], 3);
  EXPECT_EQ(json["counts"]["skipped"], 3);
  EXPECT_EQ(json["tests"][5]["attempt"], 3);
  EXPECT_EQ(json["children"][json["tests"][5]["child"].get<std::size_t>()]["attempt"], 3);
}

TEST_F(RunnerTest, ThePageTellsWhatHappened) {
  options_.html = directory_ + "/page.html";
  options_.dist = Dist::kEach;
  options_.keep_failed = directory_ + "/kept";
  options_.gtest.filter = "Plain.Fails:Plain.Passes";
  ASSERT_EQ(run("runner_subject_mixed").value(), 1);
  const std::string page = slurp(options_.html);
  EXPECT_THAT(page, AllOf(StartsWith("<!DOCTYPE html>"), EndsWith("</html>\n")));
  EXPECT_THAT(page, HasSubstr("badge bad\">failed</span>"));
  EXPECT_THAT(page, HasSubstr("Grüße &lt;&amp;]]&gt; &quot;quoted&quot;"));
  EXPECT_THAT(page, HasSubstr(fmt::format("kept Plain.Fails: <code>spore run --from "
                                          "{}/1/Plain.Fails -- sh</code>",
                                          options_.keep_failed)));
  EXPECT_THAT(page, HasSubstr("<b>child 1</b> <span>forked after "));
  EXPECT_THAT(page, HasSubstr("booted in "));
}

TEST_F(RunnerTest, ReportsAreWrittenOfARunThatFailed) {
  options_.html = directory_ + "/page.html";
  options_.json = directory_ + "/run.json";
  options_.setup = "exit 3";
  ASSERT_FALSE(run("runner_subject_mixed"));
  EXPECT_EQ(read_json(options_.json)["status"], "error");
  EXPECT_THAT(slurp(options_.html), HasSubstr("the --setup command exited with status 3"));
  options_.setup.clear();
  options_.json = directory_ + "/none/run.json";
  EXPECT_THAT(run("runner_subject_mixed").error().message(),
              HasSubstr("/none/run.json (--json): No such file"));
}

TEST_F(RunnerTest, FilesThatCannotBeWrittenAreRefused) {
  EXPECT_TRUE(check_new_file("--json", ""));
  EXPECT_TRUE(check_new_file("--json", directory_ + "/new.json"));
  EXPECT_TRUE(std::filesystem::is_empty(directory_)) << "nothing is left there";
  EXPECT_THAT(check_new_file("--json", directory_ + "/none/a").error().message(),
              AllOf(StartsWith("--json " + directory_ + "/none/a: no file can be written in "),
                    HasSubstr("/none: No such file")));
  EXPECT_THAT(check_new_file("--html", "/proc/page.html").error().message(),
              HasSubstr("no file can be written in /proc: "));
  EXPECT_THAT(check_new_file("--html", directory_).error().message(), HasSubstr("that is no file"));
}

// A run that never happened, of a test called `name` that said `text`.
class PageTest : public ::testing::Test {
 protected:
  std::string page_of(const std::string& name, const std::string& text) {
    list_.tests = {{.suite = "Suite", .name = name}, {.suite = "Suite", .name = "Other"}};
    selection_ = select_tests(list_, false, 0, 1);
    Story story(true);
    story.did("boot", 0.5);
    const std::size_t child = story.forked(0, 0);
    story.given(child, 1);
    TestRecord record;
    record.batch = 1;
    record.outcome = Outcome::kFailed;
    record.output = text;
    record.death = "The machine was lost: panicked" + std::string(kConsoleHeading) + text;
    record.began = record.ended = std::chrono::steady_clock::now();
    TestRecord other = record;
    other.test = 1;
    other.outcome = Outcome::kPassed;
    other.death.clear();
    story.lost(child, text);
    story.kept(child, 0, "kept/1/" + name);
    story.retired(child);
    story.ended({record, other}, 0);
    costs_.boot_s = costs_.capture_ms = 1;
    costs_.children = 1;
    costs_.engine = "kvm";
    const OwnReport report{.program = program_,
                           .options = options_,
                           .list = list_,
                           .selection = selection_,
                           .costs = costs_,
                           .story = story.told(),
                           .changed = {text},
                           .exit_status = 1,
                           .error = text};
    EXPECT_TRUE(nlohmann::json::accept(json_summary(report)));
    return html_page(report);
  }

  Program program_{.path = std::string("/t/") + kHostile, .has_fixture_point = true};
  Options options_;
  TestList list_;
  Selection selection_;
  RunCosts costs_;
};

TEST_F(PageTest, WhatTheGuestSaysStaysText) {
  const std::string page = page_of(kHostile, kHostile + std::string("\033[31mred\033[0m\a\xff"));
  EXPECT_EQ(count(page, "<img"), 0U);
  EXPECT_EQ(count(page, "<script"), count(std::string(kPageTemplate), "<script"));
  EXPECT_THAT(page, HasSubstr("&quot;@@data@@red\xef\xbf\xbd\xef\xbf\xbd</pre>"));
  EXPECT_THAT(page, Not(HasSubstr("\033")));
  EXPECT_THAT(page, HasSubstr("<h3>the end of the machine&#x27;s console</h3>"));
  EXPECT_THAT(page, HasSubstr("<code>spore run --from kept/1/&lt;/script&gt;"));
}

TEST_F(PageTest, NeedsNothingElse) {
  program_.path = "/t/plain";
  const std::string page = page_of("Test", "text");
  EXPECT_EQ(count(page, "@@"), 0U);
  for (const char* tag : {"<link", "<img", "<iframe", "<base", "<form", " src="}) {
    EXPECT_EQ(count(page, tag), 0U) << tag;
  }
  EXPECT_EQ(count(page, "http"), count(page, "http://www.w3.org/2000/svg") + 1U) << "http-equiv";
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
}

// Looked at in a browser: tests/python/test_gtest_page.py.
TEST_F(PageTest, IsLeftForABrowser) {
  const char* directory = std::getenv("SPORE_TEST_PAGES");
  if (directory == nullptr) {
    GTEST_SKIP() << "SPORE_TEST_PAGES is not set";
  }
  ASSERT_TRUE(
      write_whole("--html", fmt::format("{}/plain.html", directory), page_of("Test", "why Test")));
  ASSERT_TRUE(write_whole("--html", fmt::format("{}/hostile.html", directory),
                          page_of(kHostile, kHostile)));
}

TEST(PageText, IsUtf8WithoutWhatCannotBeSeen) {
  const std::string sign = "\xef\xbf\xbd";
  EXPECT_EQ(visible("a\tb\r\nc"), "a\tb\nc");
  EXPECT_EQ(visible("\033[1;31mred\033[0m \033[2J"), "red " + sign + "[2J");
  EXPECT_EQ(visible("zw\xc3\xb6lf \xf0\x9f\x8d\x84"), "zw\xc3\xb6lf \xf0\x9f\x8d\x84");
  EXPECT_EQ(visible("\xe2\x80\xae"
                    "abc\x7f"),
            sign + "abc" + sign)
      << "right to left";
  EXPECT_EQ(visible("\xc3"), sign) << "cut";
  EXPECT_EQ(visible("\xc0\xaf\xed\xa0\x80"), sign + sign + sign + sign + sign) << "overlong";
  EXPECT_EQ(in_script("</script><!--&"), "\"\\u003c/script\\u003e\\u003c!--\\u0026\"");
  EXPECT_THAT(visible(""), IsEmpty());
}

}  // namespace
}  // namespace spore::gtest_runner
