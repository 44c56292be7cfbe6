// What can be told of a test program without running it: its ELF header and whether it is linked
// with spore_gtest_main. The file is the user's; nothing in it is trusted.
#pragma once

#include <string>

#include "options.h"
#include "spore/result.h"

namespace spore::gtest_runner {

// In the read-only data of every program that is linked with spore_gtest_main.
inline constexpr const char* kFixtureMarker = "spore_gtest_main/1";
// Of those that can stop behind a SetUpTestSuite too.
inline constexpr const char* kSuiteMarker = "spore_gtest_suite/1";

// And of one that reads with <spore_test_arguments.h>, behind its fixture point, what to run.
inline constexpr const char* kArgumentsMarker = "spore_test_arguments/1";

struct Program {
  std::string path;  // absolute, without symbolic links in the directory's name
  bool has_fixture_point = false;
  bool has_suite_points = false;
  bool is_sanitized = false;     // by a sanitizer that tells of deadly signals itself
  bool reads_arguments = false;  // in a fork; else it takes a filter of GoogleTest
  // It has the text of another framework's help in it, whatever for: what to ask it first.
  bool mentions_another_framework = false;
};

// kNotFound, kPermissionDenied or kInvalidArgument when it cannot be a test program of this
// machine.
Result<Program> inspect_program(const std::string& path);

// kInvalidArgument when `options` want of the program what only spore_gtest_main can do.
Result<void> check_abilities(const Program& program, const Options& options);

}  // namespace spore::gtest_runner
