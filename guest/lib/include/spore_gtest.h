// spore_gtest_main: a main() for GoogleTest programs that are run by spore-test.
//
// Link it instead of gtest_main. Global environments (testing::AddGlobalTestEnvironment, also from
// static initializers) are set up first; then the program reaches its fixture point, once; then
// each forked machine runs the shard that its generation names, with the output, XML and JSON of an
// ordinary sharded run. Outside a machine it is an ordinary main(). Each machine has a file system
// of its own, so --gtest_output names the same path in all of them.
//
// Environments are caught as they are registered, which needs one option of the linker; the CMake
// target spore_gtest_main brings it along, other builds add it themselves (without it the program
// does not link):
//   -Wl,--wrap=_ZN7testing8UnitTest14AddEnvironmentEPNS_11EnvironmentE
//
// A program with a main() of its own calls this, after testing::InitGoogleTest(), where it would
// call RUN_ALL_TESTS().
#pragma once

namespace spore::gtest {

// `argc` and `argv` as InitGoogleTest() left them.
int run_all_tests(int argc, char** argv);

}  // namespace spore::gtest
