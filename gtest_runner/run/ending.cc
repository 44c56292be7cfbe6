// Runner's last part: what is told and kept of what ran, and of what did not.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>

#include "gtest_runner/clock.h"
#include "gtest_runner/reports/html_page.h"
#include "gtest_runner/reports/json_report.h"
#include "gtest_runner/reports/json_summary.h"
#include "gtest_runner/reports/own_report.h"
#include "gtest_runner/reports/xml_report.h"
#include "runner.h"

namespace spore::gtest_runner {
namespace {

// "file.cc:12" of each test, by full name, from what --gtest_list_tests wrote to --gtest_output.
// Empty where no report is asked for: GoogleTest lists places in no other way.
std::map<std::string, std::string> listed_places(const std::string& listing) {
  std::map<std::string, std::string> places;
  pugi::xml_document document;
  if (document.load_string(listing.c_str())) {
    for (const pugi::xml_node suite : document.child("testsuites").children("testsuite")) {
      for (const pugi::xml_node test : suite.children("testcase")) {
        places[fmt::format("{}.{}", suite.attribute("name").value(),
                           test.attribute("name").value())] =
            fmt::format("{}:{}", test.attribute("file").value(), test.attribute("line").value());
      }
    }
    return places;
  }
  const auto json = nlohmann::json::parse(listing, nullptr, false);
  const auto text = [](const nlohmann::json& of, const char* key) {
    const auto found = of.find(key);
    return found != of.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const auto array = [](const nlohmann::json& of, const char* key) {
    const auto found = of.is_object() ? of.find(key) : of.end();
    return of.is_object() && found != of.end() && found->is_array() ? *found
                                                                    : nlohmann::json::array();
  };
  for (const nlohmann::json& suite : array(json, "testsuites")) {
    for (const nlohmann::json& test : array(suite, "testsuite")) {
      if (suite.is_object() && test.is_object() && test.contains("line")) {
        places[text(suite, "name") + "." + text(test, "name")] =
            fmt::format("{}:{}", text(test, "file"), test["line"].dump());
      }
    }
  }
  return places;
}

}  // namespace

void Runner::keep_failed(Machine& machine, std::size_t child, std::size_t test) {
  {
    const std::lock_guard lock(mutex_);
    if (!kept_tests_.insert(test).second && options_.repeat > 0) {
      return;  // the first of many failures does
    }
  }
  const std::string name = list_.tests[test].full_name();
  const auto path = keeper_->keep(machine, *spore_, name);
  if (path) {
    story_.kept(child, test, *path);
    say(fmt::format("{} is kept: spore run --from {} -- sh", name, *path));
  } else {
    say(fmt::format("{} is not kept: {}", name, path.error().message()));
  }
}

void Runner::note_costs(Machine& machine, std::size_t child) {
  const auto stats = machine.stats();
  const std::lock_guard lock(mutex_);
  if (stats) {
    story_.measured(child, stats->private_bytes);
    costs_.private_bytes += stats->private_bytes;
    costs_.shared_bytes += stats->shared_bytes;
    ++costs_.measured;
  }
}

Result<void> Runner::write_report(RunResults& results, const TextReport& report) {
  if (!output_) {
    return {};
  }
  results.records = report.records();
  results.costs = options_.timings ? &costs_ : nullptr;
  std::sort(results.reports.begin(), results.reports.end(),
            [](const ChildReport& a, const ChildReport& b) { return a.batch < b.batch; });
  return write_output(*output_,
                      output_->format == "xml" ? merge_xml(results) : merge_json(results));
}

// What no child ran: under --gtest_fail_fast it is skipped, as GoogleTest says of it.
void Runner::leave_out_rest(TextReport& report) {
  const std::vector<std::size_t> missing = report.missing();
  if (missing.empty() && !late_) {
    return;
  }
  const bool skipped = ending_.failed_fast() && !late_;
  const auto places = skipped && !missing.empty() ? listed_places(notes_.listing)
                                                  : std::map<std::string, std::string>();
  for (const std::size_t test : missing) {
    TestRecord record;
    record.test = test;
    record.outcome = skipped ? Outcome::kSkipped : Outcome::kNotRun;
    if (const auto place = places.find(list_.tests[test].full_name()); place != places.end()) {
      record.output = place->second + ": Skipped\n\n";
    }
    report.add(std::move(record));
  }
  if (!skipped) {
    late_ = true;
    passed_ = false;
    say(fmt::format("the {} s of --timeout-all are over: {} test{} not run", ending_.limit_s,
                    missing.size(), missing.size() == 1 ? " was" : "s were"));
  }
}

Result<int> Runner::run() {
  if (options_.timeout_all) {
    ending_.limit_s = static_cast<double>(options_.timeout_all->count()) / 1000;
    ending_.deadline = began_ + *options_.timeout_all;
  }
  ending_.fail_fast = options_.gtest.fail_fast;
  auto status = run_all();
  if (!status && status.error().code() == ErrorCode::kTimedOut && ending_.is_late()) {
    status = fail(ErrorCode::kTimedOut,
                  fmt::format("{}: the {} s of --timeout-all were over before its tests began",
                              program_.path, ending_.limit_s));
  }
  const auto written = write_own_reports(status);
  if (!written && !status) {
    say(written.error().message());
  } else if (!written) {
    return fail(written.error());
  }
  return status;
}

Result<void> Runner::write_own_reports(const Result<int>& status) const {
  const OwnReport report{.program = program_,
                         .options = options_,
                         .dist = dist_,
                         .list = list_,
                         .selection = selection_,
                         .costs = costs_,
                         .story = story_.told(),
                         .warm = kept_ != nullptr,
                         .changed = changed_,
                         .late = late_,
                         .began_ms = epoch_ms() - static_cast<std::int64_t>(story_.now() * 1000),
                         .seconds = story_.now(),
                         .exit_status = status.value_or(kOwnFailure),
                         .error = status ? "" : status.error().message()};
  if (!options_.json.empty()) {
    SPORE_TRY(write_whole("--json", options_.json, json_summary(report)));
  }
  if (!options_.html.empty()) {
    SPORE_TRY(write_whole("--html", options_.html, html_page(report)));
  }
  return {};
}

}  // namespace spore::gtest_runner
