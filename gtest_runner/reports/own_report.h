// What --html and --json tell, and how their files are written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "costs.h"
#include "gtest_runner/frameworks/test_list.h"
#include "gtest_runner/options.h"
#include "gtest_runner/program.h"
#include "spore/result.h"
#include "story.h"

namespace spore::gtest_runner {

// The exit status of a run that spore-test could not do.
inline constexpr int kOwnFailure = 125;

struct OwnReport {
  const Program& program;
  const Options& options;
  Dist dist = Dist::kLoad;
  const TestList& list;
  const Selection& selection;
  const RunCosts& costs;
  const StoryTold& story;
  bool warm = false;                 // it went on from a kept machine
  std::vector<std::string> changed;  // why it did not, where the last run's machine is kept
  bool late = false;                 // --timeout-all ended it
  std::int64_t began_ms = 0;         // since the epoch
  double seconds = 0;
  int exit_status = 0;
  std::string error;  // why there is no other status
};

// "passed", "failed", "crashed", "skipped" or "not run".
std::string outcome_of(const TestStory& test);
// "load", "shard" or "each".
std::string_view name_of(Dist dist);
// "passed", "failed", "timed out" or "error".
std::string status_of(const OwnReport& report);

// Refuses a file that could not be written at the end of the run. `option`: who asked for it. No
// path: nothing is asked for.
Result<void> check_new_file(std::string_view option, const std::string& path);
// The file is at no time seen in part.
Result<void> write_whole(std::string_view option, const std::string& path, const std::string& text);

}  // namespace spore::gtest_runner
