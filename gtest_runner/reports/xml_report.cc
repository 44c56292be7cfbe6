#include "xml_report.h"

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <pugixml.hpp>
#include <set>
#include <sstream>

#include "failure_text.h"

namespace spore::gtest_runner {
namespace {

constexpr std::size_t kMaxDocument = std::size_t{256} * 1024 * 1024;

using pugi::xml_attribute;
using pugi::xml_document;
using pugi::xml_node;

std::unique_ptr<xml_document> parse(const std::string& text) {
  auto document = std::make_unique<xml_document>();
  constexpr unsigned kOptions = pugi::parse_default | pugi::parse_ws_pcdata_single;
  if (text.empty() || text.size() > kMaxDocument ||
      !document->load_buffer(text.data(), text.size(), kOptions) ||
      !document->child("testsuites")) {
    return nullptr;
  }
  return document;
}

// Characters that XML cannot hold are left out, as GoogleTest does.
std::string valid_text(const std::string& text) {
  std::string valid;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x20 || c == '\t' || c == '\n' || c == '\r') {
      valid += c;
    }
  }
  return valid;
}

void append_cdata(xml_node node, const std::string& text) {
  constexpr std::string_view kEnd = "]]>";
  std::string_view rest = text;
  for (auto at = rest.find(kEnd); at != std::string_view::npos; at = rest.find(kEnd)) {
    node.append_child(pugi::node_cdata).set_value(std::string(rest.substr(0, at)).c_str());
    node.append_child(pugi::node_pcdata).set_value("]]>");
    rest.remove_prefix(at + kEnd.size());
  }
  node.append_child(pugi::node_cdata).set_value(std::string(rest).c_str());
}

void set(xml_node node, const char* name, const std::string& value) {
  xml_attribute attribute = node.attribute(name);
  if (!attribute) {
    attribute = node.append_attribute(name);
  }
  attribute.set_value(value.c_str());
}

// What the attributes of a suite, or of all, add up to.
struct Totals {
  int tests = 0;
  int failures = 0;
  int disabled = 0;
  int skipped = 0;
  double time = 0;
  std::string timestamp;

  void earliest(const std::string& other) {
    if (!other.empty() && (timestamp.empty() || other < timestamp)) {
      timestamp = other;
    }
  }
  void add(xml_node testcase) {
    ++tests;
    failures += testcase.child("failure") ? 1 : 0;
    const bool not_run = std::strcmp(testcase.attribute("status").value(), "notrun") == 0;
    disabled += not_run ? 1 : 0;
    skipped += std::strcmp(testcase.attribute("result").value(), "skipped") == 0 ? 1 : 0;
  }
  void add(const Totals& other) {
    tests += other.tests;
    failures += other.failures;
    disabled += other.disabled;
    skipped += other.skipped;
    time += other.time;
    earliest(other.timestamp);
  }
};

// 3 decimals, no trailing zeros: what adding milliseconds gives.
std::string seconds_text(double value) {
  return seconds(static_cast<std::int64_t>(std::llround(value * 1000)));
}

class Merger {
 public:
  explicit Merger(const RunResults& results) : results_(results) {
    for (const ChildReport& report : results.reports) {
      if (auto document = parse(report.document)) {
        index(*document, report.batch);
        documents_.push_back(std::move(document));
      }
    }
    listing_ = parse(results.listing);
    for (const TestRecord& record : results.records) {
      records_[record.test] = &record;
    }
  }

  std::string merge() {
    xml_document merged;
    xml_node declaration = merged.append_child(pugi::node_declaration);
    declaration.append_attribute("version") = "1.0";
    declaration.append_attribute("encoding") = "UTF-8";
    xml_node root = merged.append_child("testsuites");
    for (const char* name : {"tests", "failures", "disabled", "errors", "time", "timestamp"}) {
      root.append_attribute(name);
    }
    if (results_.shuffled) {
      set(root, "random_seed", std::to_string(results_.random_seed));
    }
    copy_root_attributes(root);
    set(root, "name", "AllTests");
    Totals totals;
    for (const auto& [suite, tests] : suites()) {
      totals.add(append_suite(root, suite, tests));
    }
    append_foreign_suites(root);
    fill(root, totals);
    std::ostringstream text;
    merged.save(text, "  ", pugi::format_default, pugi::encoding_utf8);
    return text.str();
  }

 private:
  using Suites = std::vector<std::pair<std::string, std::vector<std::size_t>>>;

  void index(const xml_document& document, std::size_t batch) {
    for (xml_node suite : document.child("testsuites").children("testsuite")) {
      suite_nodes_[suite.attribute("name").value()].push_back(suite);
      for (xml_node testcase : suite.children("testcase")) {
        cases_[{batch, full_name(suite, testcase)}] = testcase;
        any_case_[full_name(suite, testcase)] = testcase;
      }
    }
  }

  static std::string full_name(xml_node suite, xml_node testcase) {
    return std::string(suite.attribute("name").value()) + "." + testcase.attribute("name").value();
  }

  [[nodiscard]] Suites suites() const {
    Suites suites;
    for (const std::size_t test : results_.selection.reported) {
      const std::string& suite = results_.list->tests[test].suite;
      if (suites.empty() || suites.back().first != suite) {
        suites.emplace_back(suite, std::vector<std::size_t>{});
      }
      suites.back().second.push_back(test);
    }
    return suites;
  }

  // Properties that tests recorded for the whole program are attributes of the root.
  void copy_root_attributes(xml_node root) {
    for (const auto& document : documents_) {
      copy_new_attributes(document->child("testsuites"), root);
    }
  }

  static void copy_new_attributes(xml_node from, xml_node to) {
    for (const xml_attribute attribute : from.attributes()) {
      if (!to.attribute(attribute.name())) {
        to.append_copy(attribute);
      }
    }
  }

  Totals append_suite(xml_node root, const std::string& name,
                      const std::vector<std::size_t>& tests) {
    xml_node suite = root.append_child("testsuite");
    set(suite, "name", valid_text(name.empty() ? results_.program : name));
    for (const char* attribute :
         {"tests", "failures", "disabled", "skipped", "errors", "time", "timestamp"}) {
      suite.append_attribute(attribute);
    }
    Totals totals;
    for (const xml_node node : suite_nodes_[name]) {
      totals.time += node.attribute("time").as_double();
      totals.earliest(node.attribute("timestamp").value());
      copy_new_attributes(node, suite);
    }
    for (const std::size_t test : tests) {
      const TestRecord* record = find_record(test);
      const xml_node known = find_case(test, record);
      const xml_node testcase = known ? suite.append_copy(known) : make_case(suite, test, record);
      if (!known && record != nullptr) {
        totals.time += static_cast<double>(record->time_ms) * 1e-3;
      }
      totals.add(testcase);
    }
    for (const xml_node node : suite_nodes_[name]) {  // failures of SetUpTestSuite and the like
      for (const xml_node testcase : node.children("testcase")) {
        if (testcase.attribute("name").value()[0] == '\0') {
          suite.append_copy(testcase);
        }
      }
    }
    if (totals.timestamp.empty()) {
      totals.timestamp = xml_timestamp(results_.started_ms);
    }
    fill(suite, totals);
    return totals;
  }

  // Suites that are in no list: "NonTestSuiteFailure", once for each different text.
  void append_foreign_suites(xml_node root) {
    std::set<std::string> known;
    for (const ListedTest& test : results_.list->tests) {
      known.insert(test.suite);
    }
    std::set<std::string> seen;
    for (const auto& [name, nodes] : suite_nodes_) {
      for (const xml_node node : nodes) {
        std::string key = name;
        for (const auto& failure : node.select_nodes(".//failure")) {
          key += failure.node().attribute("message").value();
        }
        if (!known.contains(name) && seen.insert(key).second) {
          root.append_copy(node);
        }
      }
    }
  }

  [[nodiscard]] const TestRecord* find_record(std::size_t test) const {
    const auto found = records_.find(test);
    return found == records_.end() ? nullptr : found->second;
  }

  [[nodiscard]] xml_node find_case(std::size_t test, const TestRecord* record) const {
    const std::string name = results_.list->tests[test].full_name();
    if (record == nullptr) {  // disabled: any child may name it
      const auto found = any_case_.find(name);
      return found == any_case_.end() ? xml_node() : found->second;
    }
    const auto found = cases_.find({record->batch, name});
    return found == cases_.end() || !record->death.empty() ? xml_node() : found->second;
  }

  xml_node make_case(xml_node suite, std::size_t test, const TestRecord* record) {
    const ListedTest& listed = results_.list->tests[test];
    xml_node testcase = suite.append_child("testcase");
    set(testcase, "name", valid_text(listed.name));
    if (!listed.value_param.empty()) {
      set(testcase, "value_param", valid_text(listed.value_param));
    }
    if (!listed.type_param.empty()) {
      set(testcase, "type_param", valid_text(listed.type_param));
    }
    if (!listed.file.empty()) {
      set(testcase, "file", valid_text(listed.file));
      set(testcase, "line", std::to_string(listed.line));
    }
    copy_listed(listed, testcase);
    const bool ran = record != nullptr && record->outcome != Outcome::kNotRun;
    set(testcase, "status", ran ? "run" : "notrun");
    set(testcase, "result",
        !ran                                   ? "suppressed"
        : record->outcome == Outcome::kSkipped ? "skipped"
                                               : "completed");
    set(testcase, "time", seconds(ran ? record->time_ms : 0));
    set(testcase, "timestamp", xml_timestamp(ran && record->batch != 0 ? results_.started_ms : 0));
    set(testcase, "classname", valid_text(listed.suite.empty() ? results_.program : listed.suite));
    if (ran) {
      append_failures(testcase, *record);
    }
    return testcase;
  }

  static void append_failures(xml_node testcase, const TestRecord& record) {
    const bool skipped = record.outcome == Outcome::kSkipped;
    for (const Failure& failure : find_failures(record)) {
      const std::string text = valid_text(failure.location + "\n" + failure.message);
      xml_node node = testcase.append_child(skipped ? "skipped" : "failure");
      set(node, "message", text);
      if (!skipped) {
        set(node, "type", "");
      }
      append_cdata(node, text);
    }
  }

  // Where the test is, and its whole parameters, from the program's own list.
  void copy_listed(const ListedTest& test, xml_node testcase) const {
    if (!listing_) {
      return;
    }
    for (const xml_node suite : listing_->child("testsuites").children("testsuite")) {
      if (test.suite != suite.attribute("name").value()) {
        continue;
      }
      for (const xml_node listed : suite.children("testcase")) {
        if (test.name == listed.attribute("name").value()) {
          for (const xml_attribute attribute : listed.attributes()) {
            set(testcase, attribute.name(), attribute.value());
          }
        }
      }
    }
  }

  static void fill(xml_node node, const Totals& totals) {
    set(node, "tests", std::to_string(totals.tests));
    set(node, "failures", std::to_string(totals.failures));
    set(node, "disabled", std::to_string(totals.disabled));
    if (node.attribute("skipped")) {
      set(node, "skipped", std::to_string(totals.skipped));
    }
    set(node, "errors", "0");
    set(node, "time", seconds_text(totals.time));
    set(node, "timestamp", totals.timestamp);
  }

  const RunResults& results_;
  std::vector<std::unique_ptr<xml_document>> documents_;
  std::unique_ptr<xml_document> listing_;
  std::map<std::string, std::vector<xml_node>> suite_nodes_;
  std::map<std::pair<std::size_t, std::string>, xml_node> cases_;
  std::map<std::string, xml_node> any_case_;
  std::map<std::size_t, const TestRecord*> records_;
};

}  // namespace

std::string merge_xml(const RunResults& results) {
  return Merger(results).merge();
}

}  // namespace spore::gtest_runner
