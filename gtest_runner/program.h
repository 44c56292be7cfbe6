// What can be told of a test program without running it: its ELF header and whether it is linked
// with spore_gtest_main. The file is the user's; nothing in it is trusted.
#pragma once

#include <string>

#include "spore/result.h"

namespace spore::gtest_runner {

// In the read-only data of every program that is linked with spore_gtest_main.
inline constexpr const char* kFixtureMarker = "spore_gtest_main/1";

struct Program {
  std::string path;  // absolute, without symbolic links in the directory's name
  bool has_fixture_point = false;
  bool is_sanitized = false;  // by a sanitizer that tells of deadly signals itself
};

// kNotFound, kPermissionDenied or kInvalidArgument when it cannot be a test program of this
// machine.
Result<Program> inspect_program(const std::string& path);

}  // namespace spore::gtest_runner
