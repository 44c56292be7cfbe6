// The order that a fixture point needs: GoogleTest chooses its tests before it sets environments
// up, while here the shard is known only after that. So environments are kept back from GoogleTest,
// set up before RUN_ALL_TESTS(), and torn down within it by one environment that stands for all.
#include "spore_gtest.h"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "failure_moment.h"
#include "profile.h"
#include "spore_guest.h"
#include "suite_point.h"

// How spore-test tells, from the file alone, that a program has a fixture point.
extern "C" {
extern const char spore_gtest_main_marker[];
__attribute__((used, retain)) const char spore_gtest_main_marker[] = "spore_gtest_main/1";
}

namespace {

// A fork has at most this much of user parameters in all.
constexpr std::size_t kMaxFilter = 4096;

// Of the machine in which spore-test lists the tests.
constexpr const char* kListSuitesVariable = "SPORE_LIST_SUITES";

bool g_skips_tear_down = false;

// The linker's --wrap: calls of UnitTest::AddEnvironment() come to `caught`, and `original` is
// GoogleTest's own.
extern "C" testing::Environment*
original(testing::UnitTest* unit_test, testing::Environment* environment) asm(
    "__real__ZN7testing8UnitTest14AddEnvironmentEPNS_11EnvironmentE");

// Stands for all environments of the program.
class AllEnvironments : public testing::Environment {
 public:
  void add(testing::Environment* environment) { environments_.emplace_back(environment); }

  void SetUp() override {
    if (!is_set_up_) {
      is_set_up_ = true;
      for (const auto& environment : environments_) {
        environment->SetUp();
      }
    }
  }
  void TearDown() override {
    if (g_skips_tear_down) {
      return;
    }
    is_set_up_ = false;  // a repeated run sets up anew
    for (auto entry = environments_.rbegin(); entry != environments_.rend(); ++entry) {
      (*entry)->TearDown();
    }
  }

 private:
  std::vector<std::unique_ptr<testing::Environment>> environments_;
  bool is_set_up_ = false;
};

// Owned by GoogleTest once the run starts.
AllEnvironments*& all_environments() {
  static auto* environments = new AllEnvironments;
  return environments;
}

// InitGoogleTest() leaves in argv what makes it print its help.
bool is_help(std::string_view argument) {
  return argument == "--help" || argument == "-h" || argument == "-?" || argument == "/?" ||
         argument.starts_with("--gtest_");
}

bool runs_tests(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (is_help(argv[i])) {
      return false;
    }
  }
  return !GTEST_FLAG_GET(list_tests);
}

// A death test starts the program again, for one statement: that is not a new fixture.
bool is_death_test_child() {
  return !GTEST_FLAG_GET(internal_run_death_test).empty();
}

// False when the program cannot go on. A failed assertion is not that: GoogleTest itself fails the
// tests for it.
bool set_up_environments() {
  try {
    all_environments()->SetUp();
    return true;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "spore: setting up a global environment threw: %s\n", error.what());
    return false;
  }
}

// What spore-test wants of this machine besides its tests: words, in one parameter, since each one
// that is looked up is a question to the agent.
class Orders {
 public:
  Orders() { spore_generation_user("gtest_orders", text_.data(), text_.size()); }
  [[nodiscard]] bool have(std::string_view word) const {
    return std::string_view(text_.data()).find(word) != std::string_view::npos;
  }

 private:
  std::array<char, 64> text_{};
};

// The session's, and that of a suite.
bool reach_fixture_point() {
  spore_generation generation{};
  if (spore_generation_get(&generation) == 0 && generation.id[0] != '\0') {  // in a machine
    spore::gtest::put_profile_aside();
  }
  if (spore_fixture_point(&generation) != 0) {
    std::fprintf(stderr, "spore: waiting at the fixture point: %s\n", std::strerror(errno));
    return false;
  }
  const Orders orders;
  if (generation.number > 0) {
    spore::gtest::watch_for_failures(orders.have("keep_failed"));
  }
  if (orders.have("skip_teardown")) {
    g_skips_tear_down = true;
    spore::gtest::skip_suite_tear_down();
  }
  if (orders.have("suite_point")) {
    spore::gtest::after_suite_set_up(reach_fixture_point);
  }
  // Tests named one by one take the place of a shard: those that another child left undone.
  std::array<char, kMaxFilter> filter{};
  if (spore_generation_user("gtest_filter", filter.data(), filter.size()) > 0) {
    GTEST_FLAG_SET(filter, filter.data());
    return true;
  }
  if (generation.shard_count > 1) {
    ::setenv("GTEST_TOTAL_SHARDS", std::to_string(generation.shard_count).c_str(), 1);
    ::setenv("GTEST_SHARD_INDEX", std::to_string(generation.shard_index).c_str(), 1);
  }
  return true;
}

}  // namespace

extern "C" testing::Environment*
spore_gtest_add_environment(testing::UnitTest* unit_test, testing::Environment* environment) asm(
    "__wrap__ZN7testing8UnitTest14AddEnvironmentEPNS_11EnvironmentE");

testing::Environment* spore_gtest_add_environment(testing::UnitTest* unit_test,
                                                  testing::Environment* environment) {
  if (environment == nullptr) {
    return nullptr;
  }
  if (all_environments() == nullptr) {
    return original(unit_test, environment);  // the run has begun
  }
  all_environments()->add(environment);
  return environment;
}

namespace spore::gtest {

int run_all_tests(int argc, char** argv) {
  if (GTEST_FLAG_GET(list_tests) && std::getenv(kListSuitesVariable) != nullptr) {
    list_suites_with_set_up();
  }
  if (runs_tests(argc, argv) && !is_death_test_child()) {
    if (!set_up_environments()) {
      return EXIT_FAILURE;
    }
    const bool ready = !testing::Test::HasFatalFailure() && !testing::Test::IsSkipped();
    if (ready && !reach_fixture_point()) {
      return EXIT_FAILURE;
    }
  }
  original(testing::UnitTest::GetInstance(), std::exchange(all_environments(), nullptr));
  return RUN_ALL_TESTS();
}

}  // namespace spore::gtest
