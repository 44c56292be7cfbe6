// What is known about each test of a run: filled by the children's readers, told by the reports.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "costs.h"
#include "gtest_runner/frameworks/test_list.h"

namespace spore::gtest_runner {

enum class Outcome { kPassed, kFailed, kSkipped, kNotRun };

// In a death: the end of the machine's console comes behind it.
inline constexpr const char* kConsoleHeading = "\nThe end of its console:\n";

struct Failure {
  std::string location;  // "file.cc:12", "unknown file"
  std::string message;
};

struct TestRecord {
  std::size_t test = 0;  // index into TestList::tests
  Outcome outcome = Outcome::kPassed;
  std::int64_t time_ms = 0;
  std::string comment;                 // ", where GetParam() = 3", as the program printed it
  std::string before;                  // printed ahead of the test: by SetUpTestSuite and the like
  std::string output;                  // stdout between its start and its end
  std::string errors;                  // stderr, from what came ahead of it to its end
  std::vector<Failure> failures = {};  // where a reporter told them; else they are in `output`
  bool expected_failure = false;       // it failed, and the framework counts that as passed
  bool silent = false;                 // the program counted it, but never said that it ran it
  std::string death;                   // how the program ended in this test; empty: it did not
  bool stopped = false;                // it was spore-test that ended it, at a limit
  std::size_t batch = 0;               // which run of the program it belongs to; 0: none
  std::chrono::steady_clock::time_point began{};
  std::chrono::steady_clock::time_point ended{};
};

// One run of the program by one child, to its end.
struct ChildReport {
  std::size_t batch = 0;
  std::string document;  // the XML or JSON file that it wrote; empty: none
};

// Everything about one iteration, when all children are done.
struct RunResults {
  const TestList* list = nullptr;
  Selection selection;
  std::vector<TestRecord> records;  // in the order of selection.to_run
  std::vector<ChildReport> reports;
  std::string program = "";     // the suite of tests that are in none
  std::string listing;          // what --gtest_list_tests wrote to --gtest_output; may be empty
  std::int64_t started_ms = 0;  // since the epoch; for tests of which no child wrote the time
  bool shuffled = false;
  int random_seed = 0;
  const RunCosts* costs = nullptr;  // of the whole run; null: not to be told
};

}  // namespace spore::gtest_runner
