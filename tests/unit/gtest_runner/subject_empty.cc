// A test program without tests, of which main() fails, for the runner's own tests.
#include <gtest/gtest.h>

#include <cstdlib>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (std::getenv("SUBJECT_RUNS_NOTHING") != nullptr) {
    return 0;
  }
  EXPECT_EQ(1, 2);
  return RUN_ALL_TESTS();
}
