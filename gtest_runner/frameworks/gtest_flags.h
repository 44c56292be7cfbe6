// The GoogleTest flags of a run: those that the runner answers itself, and all that is handed on.
// Input: the command line after the binary, and GTEST_* variables of the host's environment.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "spore/result.h"

namespace spore::gtest_runner {

struct GtestFlags {
  std::string filter = "*";
  std::string output;  // as given: "xml", "xml:path", "json:path"
  std::string color = "auto";
  bool brief = false;
  bool print_time = true;
  bool list_tests = false;
  bool help = false;
  bool shuffle = false;
  bool also_run_disabled_tests = false;
  bool fail_fast = false;  // the program is given it too
  int repeat = 1;
  int random_seed = 0;

  std::vector<std::string> rest;           // every other flag and argument, in order
  std::map<std::string, std::string> env;  // GTEST_* variables that only the program understands
};

// What the host's environment says of sharding, and wants to know of the run: GoogleTest's own
// variables, and those of Bazel's "Test encyclopedia".
struct OuterShard {
  int total = 1;
  int index = 0;
  std::string status_file = "";          // to be touched, when not empty
  std::string premature_exit_file = "";  // to be there while tests run, when not empty
};

using Lookup = std::function<std::optional<std::string>(const std::string&)>;

Result<GtestFlags> parse_gtest_flags(const std::vector<std::string>& arguments,
                                     const Lookup& getenv);
Result<OuterShard> parse_outer_shard(const Lookup& getenv);

}  // namespace spore::gtest_runner
