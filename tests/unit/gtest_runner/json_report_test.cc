#include "gtest_runner/reports/json_report.h"

#include <nlohmann/json.hpp>

namespace spore::gtest_runner {
namespace {

using nlohmann::json;

constexpr const char* kChild = R"({"tests":2,"failures":1,"disabled":1,"errors":0,
 "timestamp":"2026-01-02T00:00:05Z","time":"0.5s","whole":"ja","name":"AllTests","testsuites":[
 {"name":"S","tests":2,"failures":1,"disabled":1,"errors":0,"timestamp":"2026-01-02T00:00:05Z",
  "time":"0.5s","testsuite":[
  {"name":"A","file":"s.cc","line":1,"status":"RUN","result":"COMPLETED",
   "timestamp":"2026-01-02T00:00:05Z","time":"0.5s","classname":"S","colour":"grün",
   "failures":[{"failure":"s.cc:2\nGrüße","type":""}]},
  {"name":"DISABLED_B","status":"NOTRUN","result":"SUPPRESSED","time":"0s","classname":"S"}]}]})";

class JsonReportTest : public ::testing::Test {
 protected:
  JsonReportTest() {
    list_ = parse_test_list("S.\n  A\n  DISABLED_B\n  C\n");
    results_.list = &list_;
    results_.selection = select_tests(list_, false, 0, 1);
    results_.reports = {{.batch = 1, .document = kChild}, {.batch = 2, .document = "no json"}};
    results_.records.resize(2);
    results_.records[0].batch = 1;
    results_.records[0].outcome = Outcome::kFailed;
    results_.records[1] = {.test = 2,
                           .outcome = Outcome::kFailed,
                           .time_ms = 250,
                           .comment = "",
                           .before = "",
                           .output = "",
                           .errors = "",
                           .death = "killed",
                           .batch = 2};
  }
  TestList list_;
  RunResults results_;
};

TEST_F(JsonReportTest, AddsUpAndMakesUp) {
  const json merged = json::parse(merge_json(results_));
  EXPECT_EQ(merged["tests"], 3);
  EXPECT_EQ(merged["failures"], 2);
  EXPECT_EQ(merged["disabled"], 1);
  EXPECT_EQ(merged["time"], "0.75s");
  EXPECT_EQ(merged["timestamp"], "2026-01-02T00:00:05Z");
  EXPECT_EQ(merged["whole"], "ja");
  const json& suite = merged["testsuites"][0];
  ASSERT_EQ(suite["testsuite"].size(), 3U);
  EXPECT_EQ(suite["testsuite"][0]["colour"], "grün");
  EXPECT_EQ(suite["testsuite"][1]["status"], "NOTRUN");
  EXPECT_EQ(suite["testsuite"][2]["name"], "C");
  EXPECT_EQ(suite["testsuite"][2]["failures"][0]["failure"], "unknown file\nkilled");
  EXPECT_FALSE(merged.contains("spore"));  // GoogleTest's own, and no more, unless it is asked for
}

TEST_F(JsonReportTest, TellsTheCostsWhereTheyAreAskedFor) {
  RunCosts costs;
  costs.children = 5;
  results_.costs = &costs;
  EXPECT_EQ(json::parse(merge_json(results_))["spore"]["children"], 5);
}

TEST_F(JsonReportTest, TakesHostileShapesForNothing) {
  for (const char* text :
       {"[]", "{\"testsuites\":3}", "{\"testsuites\":[1,{\"name\":[]}]}", "null"}) {
    results_.reports[0].document = text;
    const json merged = json::parse(merge_json(results_));
    EXPECT_EQ(merged["tests"], 3) << text;
  }
}

}  // namespace
}  // namespace spore::gtest_runner
