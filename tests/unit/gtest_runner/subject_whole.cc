// A test program of which main() fails unless its tests ran, so that it cannot list them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

int ran = 0;

TEST(Whole, Passes) {
  ++ran;
}
TEST(Whole, Fails) {
  ++ran;
  RecordProperty("colour", "green");
  EXPECT_EQ(1, 2);
}
TEST(Whole, DISABLED_Never) {}
// It aborts, waits for a file, or never ends.
TEST(Whole, EndsAsItIsTold) {
  ++ran;
  const char* told = std::getenv("SUBJECT_END");
  const std::string end = told == nullptr ? "" : told;
  if (end == "abort") {
    std::abort();
  }
  if (end == "never") {
    pause();
  }
  if (!end.empty()) {
    std::fprintf(stderr, "a test says\n");
    while (access(end.c_str(), F_OK) != 0) {
      usleep(1000);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const int status = RUN_ALL_TESTS();
  if (ran == 0) {
    std::fprintf(stderr, "no test ran\n");
    if (std::getenv("SUBJECT_LISTS_WITH_ABORT") != nullptr) {
      std::abort();
    }
    _exit(3);  // without its coverage
  }
  return status;
}
