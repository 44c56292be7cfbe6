// A test program whose tests end it in the middle, for the runner's own tests.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>

namespace {

TEST(Dying, A) {}
TEST(Dying, B) {
  EXPECT_EQ(1, 2) << "before the end";
  raise(SIGSEGV);
}
TEST(Dying, C) {
  std::printf("C ran\n");
}
TEST(Dying, D) {
  _exit(0);
}
TEST(Dying, E) {
  std::printf("E ran\n");
}
TEST(Dying, F) {
  EXPECT_TRUE(false);
}
TEST(Hanging, G) {
  for (;;) {
    pause();
  }
}
TEST(Hanging, H) {}

}  // namespace
