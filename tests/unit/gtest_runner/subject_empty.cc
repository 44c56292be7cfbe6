// A test program without tests, of which main() fails, for the runner's own tests.
#include <gtest/gtest.h>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  EXPECT_EQ(1, 2);
  return RUN_ALL_TESTS();
}
