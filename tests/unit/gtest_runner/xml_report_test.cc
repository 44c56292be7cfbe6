#include "gtest_runner/reports/xml_report.h"

#include <gmock/gmock.h>

#include <pugixml.hpp>

namespace spore::gtest_runner {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kFirstChild = R"(<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="2" failures="1" disabled="1" errors="0" time="0.5" timestamp="2026-01-02T00:00:05.000" whole="yes" name="AllTests">
  <testsuite name="S" tests="2" failures="1" disabled="1" skipped="0" errors="0" time="0.5" timestamp="2026-01-02T00:00:05.000">
    <testcase name="A" file="s.cc" line="1" status="run" result="completed" time="0.5" timestamp="2026-01-02T00:00:05.000" classname="S">
      <failure message="s.cc:2&#x0A;Grüße &lt;&amp;" type=""><![CDATA[s.cc:2
Grüße <&]]>]]&gt;<![CDATA[ end]]></failure>
      <properties>
        <property name="colour" value="grün"/>
      </properties>
    </testcase>
    <testcase name="DISABLED_B" file="s.cc" line="3" status="notrun" result="suppressed" time="0." timestamp="1970-01-01T00:00:00.000" classname="S" />
  </testsuite>
  <testsuite name="NonTestSuiteFailure" tests="1" failures="1"><testcase name="" status="run"><failure message="env" type=""/></testcase></testsuite>
</testsuites>)";

constexpr const char* kSecondChild = R"(<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="1" failures="0" disabled="0" errors="0" time="0.25" timestamp="2026-01-02T00:00:04.000" name="AllTests">
  <testsuite name="S" tests="1" failures="0" disabled="0" skipped="1" errors="0" time="0.25" timestamp="2026-01-02T00:00:04.000">
    <testcase name="C" file="s.cc" line="4" status="run" result="skipped" time="0.25" timestamp="2026-01-02T00:00:04.000" classname="S">
      <skipped message="s.cc:5&#x0A;"><![CDATA[s.cc:5
]]></skipped>
    </testcase>
  </testsuite>
  <testsuite name="NonTestSuiteFailure" tests="1" failures="1"><testcase name="" status="run"><failure message="env" type=""/></testcase></testsuite>
</testsuites>)";

class XmlReportTest : public ::testing::Test {
 protected:
  XmlReportTest() {
    list_ = parse_test_list("S.\n  A\n  DISABLED_B\n  C\n  D  # GetParam() = \"<\"\n");
    results_.list = &list_;
    results_.selection = select_tests(list_, false, 0, 1);
    results_.reports = {{.batch = 1, .document = kFirstChild},
                        {.batch = 2, .document = kSecondChild}};
    results_.listing = R"(<testsuites tests="4" name="AllTests"><testsuite name="S" tests="4">
      <testcase name="D" value_param="&quot;&lt;whole&quot;" file="s.cc" line="9" /></testsuite></testsuites>)";
    add(0, Outcome::kFailed, 1);
    add(2, Outcome::kSkipped, 2);
    add(3, Outcome::kFailed, 3);
    results_.records[2].time_ms = 250;
    results_.records[2].output = "s.cc:7: Failure\nbefore \x01the end\n\n";
    results_.records[2].death = "killed by signal 11";
  }
  void add(std::size_t test, Outcome outcome, std::size_t batch) {
    TestRecord record;
    record.test = test;
    record.outcome = outcome;
    record.batch = batch;
    results_.records.push_back(std::move(record));
  }
  TestList list_;
  RunResults results_;
};

TEST_F(XmlReportTest, AddsUpInTheOrderOfTheList) {
  pugi::xml_document merged;
  ASSERT_TRUE(merged.load_string(merge_xml(results_).c_str()));
  const auto root = merged.child("testsuites");
  EXPECT_EQ(root.attribute("tests").as_int(), 4);
  EXPECT_EQ(root.attribute("failures").as_int(), 2);
  EXPECT_EQ(root.attribute("disabled").as_int(), 1);
  EXPECT_STREQ(root.attribute("time").value(), "1");
  EXPECT_STREQ(root.attribute("timestamp").value(), "2026-01-02T00:00:04.000");
  EXPECT_STREQ(root.attribute("whole").value(), "yes");
  const auto suite = root.child("testsuite");
  EXPECT_EQ(suite.attribute("skipped").as_int(), 1);
  std::vector<std::string> names;
  for (const auto testcase : suite.children("testcase")) {
    names.emplace_back(testcase.attribute("name").value());
  }
  EXPECT_THAT(names, ::testing::ElementsAre("A", "DISABLED_B", "C", "D"));
  const auto foreign = suite.next_sibling("testsuite");
  EXPECT_STREQ(foreign.attribute("name").value(), "NonTestSuiteFailure");
  EXPECT_FALSE(foreign.next_sibling("testsuite")) << "the same failure is told once";
}

TEST_F(XmlReportTest, KeepsTextCdataAndProperties) {
  const std::string merged = merge_xml(results_);
  EXPECT_THAT(merged, HasSubstr("<![CDATA[s.cc:2\nGrüße <&]]>]]&gt;<![CDATA[ end]]></failure>"));
  EXPECT_THAT(merged, HasSubstr("<property name=\"colour\" value=\"grün\""));
}

TEST_F(XmlReportTest, MakesUpForAChildThatDied) {
  pugi::xml_document merged;
  const std::string text = merge_xml(results_);
  ASSERT_TRUE(merged.load_string(text.c_str()));
  const auto dead =
      merged.child("testsuites").child("testsuite").find_child_by_attribute("name", "D");
  EXPECT_STREQ(dead.attribute("value_param").value(), "\"<whole\"");
  EXPECT_EQ(dead.attribute("line").as_int(), 9);
  EXPECT_STREQ(dead.attribute("status").value(), "run");
  EXPECT_STREQ(dead.attribute("time").value(), "0.25");
  const auto failure = dead.child("failure");
  EXPECT_STREQ(failure.attribute("message").value(), "s.cc:7\nbefore the end");
  EXPECT_STREQ(failure.next_sibling("failure").child_value(), "unknown file\nkilled by signal 11");
}

TEST_F(XmlReportTest, TakesNoXmlForNone) {
  results_.reports = {{.batch = 1, .document = "<testsuites><broken"},
                      {.batch = 2, .document = ""}};
  results_.listing = "<html/>";
  pugi::xml_document merged;
  ASSERT_TRUE(merged.load_string(merge_xml(results_).c_str()));
  EXPECT_EQ(merged.child("testsuites").attribute("tests").as_int(), 4);
  EXPECT_EQ(merged.child("testsuites").attribute("failures").as_int(), 2);
}

}  // namespace
}  // namespace spore::gtest_runner
