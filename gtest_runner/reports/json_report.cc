#include "json_report.h"

#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "failure_text.h"

namespace spore::gtest_runner {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kIndent = 2;

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// The array of objects under `key`; empty when there is none.
std::vector<Json> objects_of(const Json& object, const char* key) {
  std::vector<Json> objects;
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (found != object.end() && found->is_array()) {
    for (const Json& entry : *found) {
      if (entry.is_object()) {
        objects.push_back(entry);
      }
    }
  }
  return objects;
}

double seconds_of(const Json& object) {
  return std::strtod(text_of(object, "time").c_str(), nullptr);
}

std::string duration(double value) {
  return seconds(static_cast<std::int64_t>(std::llround(value * 1000))) + "s";
}

struct Totals {
  int tests = 0;
  int failures = 0;
  int disabled = 0;
  double time = 0;
  std::string timestamp;

  void earliest(const std::string& other) {
    if (!other.empty() && (timestamp.empty() || other < timestamp)) {
      timestamp = other;
    }
  }
  void add(const Json& testcase) {
    ++tests;
    failures += testcase.contains("failures") ? 1 : 0;
    disabled += text_of(testcase, "status") == "NOTRUN" ? 1 : 0;
  }
  void add(const Totals& other) {
    tests += other.tests;
    failures += other.failures;
    disabled += other.disabled;
    time += other.time;
    earliest(other.timestamp);
  }
  void fill(Json& object) const {
    object["tests"] = tests;
    object["failures"] = failures;
    object["disabled"] = disabled;
    object["errors"] = 0;
    object["timestamp"] = timestamp;
    object["time"] = duration(time);
  }
};

void copy_new_keys(const Json& from, Json& to, const char* except) {
  for (const auto& [key, value] : from.items()) {
    if (key != except && !to.contains(key)) {
      to[key] = value;
    }
  }
}

class Merger {
 public:
  explicit Merger(const RunResults& results) : results_(results) {
    for (const ChildReport& report : results.reports) {
      index(report);
    }
    const Json listing = Json::parse(results.listing, nullptr, false);
    for (const Json& suite : objects_of(listing, "testsuites")) {
      for (const Json& testcase : objects_of(suite, "testsuite")) {
        listed_[text_of(suite, "name") + "." + text_of(testcase, "name")] = testcase;
      }
    }
    for (const TestRecord& record : results.records) {
      records_[record.test] = &record;
    }
  }

  std::string merge() {
    Json root = Json::object();
    Totals totals;
    totals.fill(root);  // fixes the order of the keys
    if (results_.shuffled) {
      root["random_seed"] = results_.random_seed;
    }
    for (const Json& document : documents_) {
      copy_new_keys(document, root, "testsuites");
    }
    root["name"] = "AllTests";
    Json suites = Json::array();
    for (std::size_t i = 0; i < results_.selection.reported.size();) {
      suites.push_back(make_suite(i, totals));
    }
    append_foreign_suites(suites);
    totals.fill(root);
    root["testsuites"] = std::move(suites);
    if (results_.costs != nullptr) {
      root["spore"] = to_json(*results_.costs);
    }
    return root.dump(kIndent, ' ', false, Json::error_handler_t::replace) + "\n";
  }

 private:
  void index(const ChildReport& report) {
    Json document = Json::parse(report.document, nullptr, false);
    if (!document.is_object()) {
      return;
    }
    for (const Json& suite : objects_of(document, "testsuites")) {
      const std::string name = text_of(suite, "name");
      suites_[name].push_back(suite);
      for (const Json& testcase : objects_of(suite, "testsuite")) {
        const std::string full_name = name + "." + text_of(testcase, "name");
        cases_[{report.batch, full_name}] = testcase;
        any_case_[full_name] = testcase;
      }
    }
    documents_.push_back(std::move(document));
  }

  // The suite of the reported test number `i`; moves `i` behind its tests.
  Json make_suite(std::size_t& i, Totals& all) {
    const auto& reported = results_.selection.reported;
    const std::string name = results_.list->tests[reported[i]].suite;
    Json suite = {{"name", name.empty() ? results_.program : name}};
    Totals totals;
    totals.fill(suite);
    for (const Json& known : suites_[name]) {
      totals.time += seconds_of(known);
      totals.earliest(text_of(known, "timestamp"));
      copy_new_keys(known, suite, "testsuite");
    }
    Json testcases = Json::array();
    for (; i < reported.size() && results_.list->tests[reported[i]].suite == name; ++i) {
      testcases.push_back(find_case(reported[i], totals));
      totals.add(testcases.back());
    }
    if (totals.timestamp.empty()) {
      totals.timestamp = json_timestamp(results_.started_ms);
    }
    totals.fill(suite);
    all.add(totals);
    for (const Json& known : suites_[name]) {  // failures of SetUpTestSuite and the like
      for (const Json& testcase : objects_of(known, "testsuite")) {
        if (text_of(testcase, "name").empty()) {
          testcases.push_back(testcase);
        }
      }
    }
    suite["testsuite"] = std::move(testcases);
    return suite;
  }

  Json find_case(std::size_t test, Totals& totals) {
    const std::string name = results_.list->tests[test].full_name();
    const auto record = records_.find(test);
    if (record == records_.end()) {  // disabled: any child may name it
      const auto found = any_case_.find(name);
      return found != any_case_.end() ? found->second : make_case(test, nullptr);
    }
    const auto found = cases_.find({record->second->batch, name});
    if (found != cases_.end() && record->second->death.empty()) {
      return found->second;
    }
    totals.time += static_cast<double>(record->second->time_ms) * 1e-3;
    return make_case(test, record->second);
  }

  Json make_case(std::size_t test, const TestRecord* record) {
    const ListedTest& listed = results_.list->tests[test];
    Json testcase = {{"name", listed.name}};
    if (!listed.value_param.empty()) {
      testcase["value_param"] = listed.value_param;
    }
    if (!listed.type_param.empty()) {
      testcase["type_param"] = listed.type_param;
    }
    if (const auto found = listed_.find(listed.full_name()); found != listed_.end()) {
      testcase.update(found->second);
    }
    if (!listed.file.empty()) {
      testcase["file"] = listed.file;
      testcase["line"] = listed.line;
    }
    const bool ran = record != nullptr && record->outcome != Outcome::kNotRun;
    testcase["status"] = ran ? "RUN" : "NOTRUN";
    testcase["result"] = !ran                                   ? "SUPPRESSED"
                         : record->outcome == Outcome::kSkipped ? "SKIPPED"
                                                                : "COMPLETED";
    testcase["timestamp"] = json_timestamp(ran && record->batch != 0 ? results_.started_ms : 0);
    testcase["time"] = seconds(ran ? record->time_ms : 0) + "s";
    testcase["classname"] = listed.suite.empty() ? results_.program : listed.suite;
    if (ran && record->outcome == Outcome::kFailed) {
      for (const Failure& failure : find_failures(*record)) {
        testcase["failures"].push_back(
            {{"failure", failure.location + "\n" + failure.message}, {"type", ""}});
      }
    }
    return testcase;
  }

  // Suites that are in no list: "NonTestSuiteFailure", once for each different text.
  void append_foreign_suites(Json& merged) {
    std::set<std::string> known;
    for (const ListedTest& test : results_.list->tests) {
      known.insert(test.suite);
    }
    std::set<std::string> seen;
    for (const auto& [name, suites] : suites_) {
      for (const Json& suite : suites) {
        std::string key = name;
        for (const Json& testcase : objects_of(suite, "testsuite")) {
          for (const Json& failure : objects_of(testcase, "failures")) {
            key += text_of(failure, "failure");
          }
        }
        if (!known.contains(name) && seen.insert(key).second) {
          merged.push_back(suite);
        }
      }
    }
  }

  const RunResults& results_;
  std::vector<Json> documents_;
  std::map<std::string, std::vector<Json>> suites_;
  std::map<std::pair<std::size_t, std::string>, Json> cases_;
  std::map<std::string, Json> any_case_;
  std::map<std::string, Json> listed_;
  std::map<std::size_t, const TestRecord*> records_;
};

}  // namespace

std::string merge_json(const RunResults& results) {
  return Merger(results).merge();
}

}  // namespace spore::gtest_runner
