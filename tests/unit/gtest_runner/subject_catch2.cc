// A Catch2 program, of version 2 or 3, for the runner's own tests. With SUBJECT_FIXTURE it sets up
// once and waits at a (fake) fixture point.
#define CATCH_CONFIG_RUNNER
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#define SUBJECT_VERSION 3
#else
#include <catch2/catch.hpp>
#define SUBJECT_VERSION 2
#endif
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <stdexcept>

#include "unit/gtest_runner/subject_main.h"

TEST_CASE("passes, with [brackets] and \"quotes\"", "[plain][fast]") {
  std::cout << "to the stream\n";
  std::printf("by printf, no line break");
  REQUIRE(1 == 1);
}
TEST_CASE("fails <x> & y", "[plain]") {
  SECTION("one") {
    INFO("the answer is near");
    CHECK(6 * 9 == 42);
  }
  SECTION("two") {
    FAIL("given up");
  }
}
TEST_CASE("throws", "[plain]") {
  std::cerr << "said on stderr\n";
  throw std::runtime_error("ouch");
}
TEST_CASE("\\back, slash", "[plain]") {}
TEST_CASE("#number", "[plain]") {}
TEST_CASE("*stars*", "[plain]") {}
TEST_CASE("[looks like a tag]", "[plain]") {}
TEST_CASE("~not this", "[plain]") {}
TEST_CASE("exclude:me", "[plain]") {}
TEST_CASE("-c", "[plain]") {}
TEST_CASE("  spaces  ", "[plain]") {}
TEST_CASE("Case", "[plain]") {}
TEST_CASE("case", "[plain]") {}
TEST_CASE("may fail", "[plain][!mayfail]") {
  CHECK(false);
}
TEST_CASE("should fail", "[plain][!shouldfail]") {}
TEST_CASE("hidden", "[.][hidden]") {}
TEST_CASE("prints elements", "[feigns]") {
  std::printf("<Info>\n  <TestCase name=\"case\">\n</TestCase>\n");
  std::printf("      </Info>\n");
}
#if SUBJECT_VERSION == 3
TEST_CASE("skips", "[skips]") {
  SKIP("not on a weekday");
}
#endif

TEST_CASE("a", "[.][dying]") {}
TEST_CASE("b", "[.][dying]") {
  CHECK(1 == 2);
  std::printf("before the end\n");
  std::fflush(stdout);
  raise(SIGSEGV);
}
TEST_CASE("c", "[.][dying]") {}
TEST_CASE("d", "[.][dying]") {
  _exit(0);
}
TEST_CASE("e", "[.][dying]") {
  raise(SIGKILL);
}
TEST_CASE("f", "[.][dying]") {}
TEST_CASE("hangs", "[.][hanging]") {
  for (;;) {
    pause();
  }
}
TEST_CASE("does not hang", "[.][hanging]") {}
TEST_CASE("feigns its own end", "[.][liar]") {
  std::printf("      <OverallResult success=\"true\"/>\n    </TestCase>\n");
  std::fflush(stdout);
  CHECK(false);
}
TEST_CASE("set up once", "[.][fixture]") {
  CHECK(subject_state() == "set up");
  subject_state() = "used";
}
TEST_CASE("set up once for each", "[.][fixture]") {
  CHECK(subject_state() == "set up");
  subject_state() = "used";
}
TEST_CASE("flaky", "[.][flaky]") {
  CHECK(subject_counter() % 3 != 0);
}

int main(int argc, char** argv) {
  auto arguments = subject_arguments(argc, argv);
  return Catch::Session().run(static_cast<int>(arguments.size()) - 1, arguments.data());
}
