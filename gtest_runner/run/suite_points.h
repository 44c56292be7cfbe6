// --scope=suite: where the tests of a suite start that has a SetUpTestSuite.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "gtest_runner/frameworks/output_reader.h"
#include "spore/session.h"

namespace spore::gtest_runner {

// A machine in which SetUpTestSuite has run, and the first test has not begun.
struct SuitePoint {
  std::mutex mutex;                      // held by who makes it; guards what follows
  std::shared_ptr<Spore> spore;          // null: not made yet, or the suite did not come so far
  std::unique_ptr<OutputReader> reader;  // has read all until there
  std::string printed;                   // by SetUpTestSuite

  // Guarded by the runner's mutex: a worker has tests of the suite, and the spore is still to come.
  bool awaited = true;
};

}  // namespace spore::gtest_runner
