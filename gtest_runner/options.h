// The command line of spore-test.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "gtest_runner/coverage/coverage.h"
#include "gtest_runner/frameworks/framework.h"
#include "gtest_runner/frameworks/gtest_flags.h"
#include "spore/image.h"
#include "spore/result.h"

namespace spore::gtest_runner {

// Which child runs a test.
enum class Dist {
  kLoad,   // children take some at a time, as they need them
  kShard,  // each has its part from the start
  kEach,   // children take one at a time, in a clean machine
};

// Where tests start.
enum class Scope {
  kSession,  // at the program's fixture point
  kSuite,    // behind SetUpTestSuite, where a suite has one
};

struct Options {
  std::string binary;
  std::optional<FrameworkKind> framework;  // nothing: the binary tells
  std::uint32_t shards = 2;
  bool shards_given = false;
  // Nothing: kLoad for a program with a fixture point, kShard for one that would set up its global
  // environments anew for each turn.
  std::optional<Dist> dist;
  Scope scope = Scope::kSession;
  bool skip_teardown = false;  // machines are thrown away before suites and environments are
  std::string setup;           // a shell line; empty: none
  std::uint64_t memory_mib = 512;
  std::optional<std::uint64_t> memory_budget;  // bytes that all machines may have of their own
  std::uint32_t cpus = 1;
  std::map<std::string, std::string> env;
  std::vector<ImageMount> mounts;
  std::string workdir;         // of the tests, in the guest
  bool makes_workdir = false;  // it is made there if the image does not have it
  std::optional<std::chrono::milliseconds> timeout;
  std::optional<std::chrono::milliseconds> timeout_all;  // of the whole run
  std::string engine = "auto";
  std::string kernel;
  std::string console_log;  // empty: none
  std::string html;         // file for a page about the run; empty: none
  std::string json;         // file for a summary of it
  bool timings = false;
  std::string keep_failed;   // directory for the machines of failed tests; empty: none is kept
  std::string debug;         // the test whose kept machine is to be looked into; empty: none
  std::uint32_t repeat = 0;  // runs of each test to find flaky ones; 0: one run, in full
  bool fresh = false;        // no machine of an earlier run will do
  bool prepare = false;      // for later runs: no test is run
  GtestFlags gtest;
  OuterShard outer;
  ProfilePlaces profiles;

  // Where children write their XML and JSON in the guest.
  std::string guest_scratch = "/tmp";
  // In the guest, preloaded into programs that do not tell of deadly signals.
  std::string stack_library = "/usr/lib/spore/libspore_stack.so";
};

// How the command line was answered without running anything, or what to run.
struct ParsedOptions {
  std::optional<Options> options;
  std::string text;  // help or version, when there is nothing to run
};

Result<ParsedOptions> parse_options(int argc, const char* const* argv, const Lookup& getenv);

}  // namespace spore::gtest_runner
