// A GoogleTest program that knows nothing of Spore.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>

namespace {

std::string first_line(const char* path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

// Two tests, so that what was set up once shows.
class Plain : public testing::Test {
 protected:
  static void tell_machine() {
    if (const char* value = std::getenv("IN_MACHINE")) {
      EXPECT_STREQ(value, "yes; $HOME");
      const std::string when = first_line("/tmp/warm/when");
      EXPECT_NE(when, "");
      std::cout << "machine of " << when << "\n";
    }
  }
};

TEST_F(Plain, FindsItsData) {
  tell_machine();
  EXPECT_EQ(first_line(WORDS_FILE), "spore");
}
TEST_F(Plain, RunsAlone) {
  tell_machine();
  static int runs = 0;
  EXPECT_EQ(++runs, 1);
}

TEST(Other, IsNotChosen) {
  FAIL();
}

}  // namespace
