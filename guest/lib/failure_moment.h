// What `spore-test --keep-failed` needs in the program: it stops where a test fails, or crashes,
// while its machine is captured.
#pragma once

namespace spore::gtest {

// From now on the first failure of each test, and a signal that would end this process, is a
// spore_failure_point(). In a machine that was made from what was kept there the process stops
// itself (SIGSTOP), for a debugger; kFailedPidFile says which it is.
void watch_for_failures();

inline constexpr const char* kFailedPidFile = "/tmp/spore-failed.pid";

}  // namespace spore::gtest
