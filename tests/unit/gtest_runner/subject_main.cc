#include "unit/gtest_runner/subject_main.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#ifdef SUBJECT_FIXTURE
#include "support/fake_fixture.h"

// What the runner looks for in a program's read-only data: see spore_test_arguments.h.
extern "C" const char spore_test_arguments_marker[] __attribute__((used)) =
    "spore_test_arguments/1";
#endif

std::string& subject_state() {
  static std::string state = "set up";
  return state;
}

int subject_counter() {
  int counter = 0;
  if (const char* path = std::getenv("SUBJECT_COUNTER")) {
    std::ifstream(path) >> counter;
    std::ofstream(path) << counter + 1;
  }
  return counter + 1;
}

std::vector<const char*> subject_arguments(int argc, const char* const* argv) {
  std::vector<const char*> arguments(argv, argv + argc);
#ifdef SUBJECT_FIXTURE
  static std::vector<std::string> added;
  std::puts("setting up");
  std::fflush(stdout);
  const auto fork = spore::testing::fake_fixture_point();
  if (const auto found = fork.user.find("test_arguments"); found != fork.user.end()) {
    std::istringstream lines(found->second);
    for (std::string line; std::getline(lines, line);) {
      added.push_back(line);
    }
  }
  for (const std::string& word : added) {
    arguments.push_back(word.c_str());
  }
#endif
  arguments.push_back(nullptr);
  return arguments;
}
