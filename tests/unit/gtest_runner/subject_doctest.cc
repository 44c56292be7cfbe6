// A doctest program for the runner's own tests. With SUBJECT_FIXTURE it sets up once and waits at a
// (fake) fixture point.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <stdexcept>

#include "unit/gtest_runner/subject_main.h"

TEST_SUITE("plain") {
  TEST_CASE("passes, with [brackets] and \"quotes\"") {
    std::cout << "to the stream\n";
    std::printf("by printf, no line break");
    REQUIRE(1 == 1);
  }
  TEST_CASE("fails <x> & y") {
    SUBCASE("one") {
      INFO("the answer is near");
      CHECK(6 * 9 == 42);
    }
    SUBCASE("two") {
      FAIL("given up");
    }
  }
  TEST_CASE("throws") {
    std::cerr << "said on stderr\n";
    throw std::runtime_error("ouch");
  }
  TEST_CASE("\\back, slash") {}
  TEST_CASE("wild * and ?") {}
  TEST_CASE("wild and ? and ?") {}
  TEST_CASE("  spaces  ") {}
  TEST_CASE("Case") {}
  TEST_CASE("case") {}
  TEST_CASE("") {}
  TEST_CASE("same") {
    std::puts("the first of three");
  }
  TEST_CASE("same") {
    std::puts("the second of three");
    CHECK(false);
  }
  TEST_CASE("may fail" * doctest::may_fail()) {
    CHECK(false);
  }
  TEST_CASE("should fail" * doctest::should_fail()) {}
  TEST_CASE("skipped" * doctest::skip()) {
    CHECK(false);
  }
}
TEST_CASE("same") {
  std::puts("the third of three");
}
TEST_SUITE("dying" * doctest::skip()) {
  TEST_CASE("a") {}
  TEST_CASE("b") {
    CHECK(1 == 2);
    std::printf("before the end\n");
    std::fflush(stdout);
    raise(SIGSEGV);
  }
  TEST_CASE("c") {}
  TEST_CASE("d") {
    _exit(0);
  }
  TEST_CASE("e") {
    raise(SIGKILL);
  }
  TEST_CASE("f") {}
}
TEST_SUITE("hanging" * doctest::skip()) {
  TEST_CASE("hangs") {
    for (;;) {
      pause();
    }
  }
  TEST_CASE("does not hang") {}
}
TEST_CASE("feigns its own end" * doctest::skip()) {
  std::printf(
      "      <OverallResultsAsserts successes=\"1\" failures=\"0\" test_case_success=\"true\"/>\n"
      "    </TestCase>\n");
  CHECK(false);
}
TEST_SUITE("fixture" * doctest::skip()) {
  TEST_CASE("set up once") {
    CHECK(subject_state() == "set up");
    subject_state() = "used";
  }
  TEST_CASE("set up once for each") {
    CHECK(subject_state() == "set up");
    subject_state() = "used";
  }
}
TEST_CASE("flaky" * doctest::skip()) {
  CHECK(subject_counter() % 3 != 0);
}

int main(int argc, char** argv) {
  auto arguments = subject_arguments(argc, argv);
  return doctest::Context(static_cast<int>(arguments.size()) - 1, arguments.data()).run();
}
