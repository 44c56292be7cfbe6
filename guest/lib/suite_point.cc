// GoogleTest tells nobody that a SetUpTestSuite has returned before it has begun a test. So suites
// are registered with functions of ours, which call theirs.
#include "suite_point.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <unordered_map>
#include <utility>

// How spore-test tells, from the file alone, that a program can stop there.
extern "C" {
extern const char spore_gtest_suite_marker[];
__attribute__((used, retain)) const char spore_gtest_suite_marker[] = "spore_gtest_suite/1";
}

namespace spore::gtest {

using ::testing::internal::CodeLocation;
using ::testing::internal::SetUpTestSuiteFunc;
using ::testing::internal::TearDownTestSuiteFunc;
using ::testing::internal::TestFactoryBase;
using ::testing::internal::TypeId;

// Of the type of its first parameter there are two opinions among GoogleTest's versions.
template <typename Function>
struct FirstParameter;
template <typename Result, typename First, typename... Others>
struct FirstParameter<Result(First, Others...)> {
  using Type = First;
};
using SuiteName = FirstParameter<decltype(::testing::internal::MakeAndRegisterTestInfo)>::Type;

// The linker's --wrap: registrations of tests come to `register_caught`, and `register_original` is
// GoogleTest's own.
::testing::TestInfo* register_original(
    SuiteName suite, const char* name, const char* type_param, const char* value_param,
    CodeLocation location, TypeId fixture, SetUpTestSuiteFunc set_up,
    TearDownTestSuiteFunc tear_down,
    TestFactoryBase* factory) asm("__real_" SPORE_GTEST_REGISTER_SYMBOL);
::testing::TestInfo* register_caught(
    SuiteName suite, const char* name, const char* type_param, const char* value_param,
    CodeLocation location, TypeId fixture, SetUpTestSuiteFunc set_up,
    TearDownTestSuiteFunc tear_down,
    TestFactoryBase* factory) asm("__wrap_" SPORE_GTEST_REGISTER_SYMBOL);

namespace {

struct SuiteFunctions {
  SetUpTestSuiteFunc set_up = nullptr;
  TearDownTestSuiteFunc tear_down = nullptr;
};

// By the suite's name. Tests are registered before main(), in no order.
std::unordered_map<std::string, SuiteFunctions>& suites() {
  static auto* suites = new std::unordered_map<std::string, SuiteFunctions>;
  return *suites;
}

bool (*g_on_set_up)() = nullptr;
bool g_skips_tear_down = false;

// GoogleTest looks at its filter once, when a run begins, and when it is asked for a list of its
// tests: then, too, it notes which of them are to run. What it prints of them goes nowhere, nor
// does what other threads print meanwhile.
void apply_filter_within_run() {
  const std::string output = GTEST_FLAG_GET(output);
  GTEST_FLAG_SET(output, "");
  std::fflush(stdout);
  const int kept = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (kept < 0 || nowhere < 0 || dup2(nowhere, STDOUT_FILENO) < 0) {
    std::perror("spore: choosing the tests of a suite");
    std::_Exit(EXIT_FAILURE);
  }
  GTEST_FLAG_SET(list_tests, true);
  [[maybe_unused]] const int listed = RUN_ALL_TESTS();
  GTEST_FLAG_SET(list_tests, false);
  std::fflush(stdout);
  dup2(kept, STDOUT_FILENO);
  close(kept);
  close(nowhere);
  GTEST_FLAG_SET(output, output);
}

void set_up_suite() {
  const ::testing::TestSuite& suite = *::testing::UnitTest::GetInstance()->current_test_suite();
  suites()[suite.name()].set_up();
  // GoogleTest skips the tests of a suite that failed, which one machine does for all of them.
  if (g_on_set_up == nullptr || suite.ad_hoc_test_result().Failed()) {
    return;
  }
  if (!std::exchange(g_on_set_up, nullptr)()) {
    std::fflush(nullptr);
    std::_Exit(EXIT_FAILURE);
  }
  apply_filter_within_run();
}

void tear_down_suite() {
  if (!g_skips_tear_down) {
    suites()[::testing::UnitTest::GetInstance()->current_test_suite()->name()].tear_down();
  }
}

}  // namespace

__attribute__((used)) ::testing::TestInfo* register_caught(
    SuiteName suite, const char* name, const char* type_param, const char* value_param,
    CodeLocation location, TypeId fixture, SetUpTestSuiteFunc set_up,
    TearDownTestSuiteFunc tear_down, TestFactoryBase* factory) {
  suites().try_emplace(suite, SuiteFunctions{set_up, tear_down});  // of its first test, as there
  return register_original(std::move(suite), name, type_param, value_param, std::move(location),
                           fixture, set_up == nullptr ? nullptr : &set_up_suite,
                           tear_down == nullptr ? nullptr : &tear_down_suite, factory);
}

void after_suite_set_up(bool (*call)()) {
  g_on_set_up = call;
}

void skip_suite_tear_down() {
  g_skips_tear_down = true;
}

void list_suites_with_set_up() {
  for (const auto& [name, functions] : suites()) {
    if (functions.set_up != nullptr) {
      std::fprintf(stderr, "%s%s\n", kSuiteTag, name.c_str());
    }
  }
}

}  // namespace spore::gtest
