// A fixture point behind SetUpTestSuite, for spore-test --scope=suite.
#pragma once

namespace spore::gtest {

// Where the next SetUpTestSuite has succeeded `call` is called, once: it waits there, and sets
// --gtest_filter. Of the suite only those tests are run then. The program ends if it answers false.
void after_suite_set_up(bool (*call)());

// TearDownTestSuite is not called any more.
void skip_suite_tear_down();

// To stderr, for spore-test: a line for each suite that has a SetUpTestSuite, with this before it.
void list_suites_with_set_up();
inline constexpr const char* kSuiteTag = "spore-suite: ";

}  // namespace spore::gtest
