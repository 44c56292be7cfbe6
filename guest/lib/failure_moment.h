// What spore-test needs in the program: it tells its stack when it crashes, and with --keep-failed
// it stops where a test fails, or crashes, while its machine is captured.
#pragma once

namespace spore::gtest {

// From now on a signal that would end this process writes its stack to stderr, for spore-test to
// give it names. If machines are kept, it is a spore_failure_point() then, and so is the first
// failure of each test. In a machine that was made from what was kept there the process stops
// itself (SIGSTOP), for a debugger; kFailedPidFile says which it is.
void watch_for_failures(bool keep);

inline constexpr const char* kFailedPidFile = "/tmp/spore-failed.pid";

}  // namespace spore::gtest
