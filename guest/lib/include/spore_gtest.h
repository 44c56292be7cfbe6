// spore_gtest_main: a main() for GoogleTest programs that are run by spore-test.
//
// Link it instead of gtest_main. Global environments (testing::AddGlobalTestEnvironment, also from
// static initializers) are set up first; then the program reaches its fixture point, once; then
// each forked machine runs the shard that its generation names, with the output, XML and JSON of an
// ordinary sharded run. Outside a machine it is an ordinary main(). Each machine has a file system
// of its own, so --gtest_output names the same path in all of them.
//
// Environments and suites are caught as they are registered, which needs two options of the linker;
// the CMake target spore_gtest_main brings them along, other builds add them themselves (without
// them the program does not link). The second names a function as GoogleTest 1.12 has it; the
// linker's message tells its name in other versions:
//   -Wl,--wrap=_ZN7testing8UnitTest14AddEnvironmentEPNS_11EnvironmentE
//   -Wl,--wrap=_ZN7testing8internal23MakeAndRegisterTestInfoEPKcS2_S2_S2_NS0_12CodeLocationEPKvPFvvES7_PNS0_15TestFactoryBaseE
// Another is for gcc --coverage, whose counts of the set-up come once from each child without it:
//   -Wl,--wrap=__gcov_init
//
// A program with a main() of its own calls this, after testing::InitGoogleTest(), where it would
// call RUN_ALL_TESTS().
#pragma once

namespace spore::gtest {

// `argc` and `argv` as InitGoogleTest() left them.
int run_all_tests(int argc, char** argv);

}  // namespace spore::gtest
