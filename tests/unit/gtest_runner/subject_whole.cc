// A test program of which main() fails unless its tests ran, so that it cannot list them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

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
TEST(Whole, EndsAsItIsTold) {
  ++ran;
  const char* end = std::getenv("SUBJECT_END");
  if (end != nullptr && *end == 'a') {
    std::abort();
  }
  if (end != nullptr) {
    pause();
  }
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const int status = RUN_ALL_TESTS();
  return ran == 0 ? 3 : status;
}
