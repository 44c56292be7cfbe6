// One child machine that runs the test program once, to its end: reads it, tells the report, and
// says which tests are still to be run.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ending.h"
#include "gtest_runner/frameworks/output_reader.h"
#include "gtest_runner/reports/results.h"
#include "gtest_runner/reports/text_report.h"
#include "spore/session.h"

namespace spore::gtest_runner {

// What one child is asked to do.
struct Batch {
  std::size_t id = 0;  // different in every run of the program
  std::vector<std::size_t> tests;
  ExecRequest request;          // of an unmodified program
  std::uint32_t inherited = 0;  // else the process that waits at the fixture point
  std::string report_path;      // in the guest; empty: no report is asked for
  // Directories in the guest with the program's profiles, of this batch and of the set-up that
  // every machine has; empty: they are not asked for.
  std::string profiles{};
  std::string set_up_profiles{};
};

struct ChildOutcome {
  std::vector<std::size_t> left;  // tests of the batch that were not run
  std::string document;           // the program's own report
  std::string profiles{};         // archives, as profile_request() prints them
  std::string set_up_profiles{};
  // How the program failed although no test is to blame; empty: it did not.
  std::string complaint;
  std::string console_tail;  // of a machine that was lost
  std::string lost;          // why the machine ended by itself; empty: it did not
  std::optional<std::chrono::steady_clock::time_point> began{};  // its first test
  std::chrono::steady_clock::time_point ended{};                 // the program, or its machine
  bool late = false;  // it was ended at the limit of the whole run
  bool machine_alive = true;
  // The program came to its end and said that all is well. Its status is the judgement, not ours: a
  // main() may take a failure for expected, as it may without children.
  bool passed = false;
  // With `until_fixture_point`: it waits there, and has read this. Nothing else of it is known.
  std::unique_ptr<OutputReader> reached;
};

struct ChildSettings {
  std::optional<Milliseconds> timeout;  // without progress
  std::string name;                     // "child 2"
  Ending& ending;                       // of all children
  // Told of the moment of a failure, while the machine stands there; may be empty. `test`: an index
  // into the list.
  std::function<void(std::size_t test)> on_failure = {};
  bool until_fixture_point = false;  // that is no failure's moment: leave the program there
};

// Runs `batch` in `machine`. `reader` expects the tests of the batch, and has read what the parent
// printed. An Error only when the program could not be started.
Result<ChildOutcome> run_child(Machine& machine, const Batch& batch,
                               std::unique_ptr<OutputReader> reader, const ChildSettings& settings,
                               TextReport& report);

}  // namespace spore::gtest_runner
