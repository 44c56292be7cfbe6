// A test program that sets up once, waits at a (fake) fixture point, and runs its shard in each
// fork, for the runner's own tests. With SUBJECT_EXIT_EARLY it ends before the fixture point.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "support/fake_fixture.h"

namespace {

// What the runner looks for in a program's read-only data.
extern "C" const char spore_gtest_main_marker[] __attribute__((used)) = "spore_gtest_main/1";

std::string g_index;

TEST(Fixture, A) {
  EXPECT_EQ(g_index, "built");
}
TEST(Fixture, B) {
  EXPECT_EQ(g_index, "built");
  g_index = "destroyed";
}
TEST(Fixture, C) {
  EXPECT_EQ(g_index, "built");
}
TEST(Fixture, D) {
  abort();
}
TEST(Fixture, E) {}
TEST(Fixture, F) {}
TEST(Fixture, G) {}
TEST(Fixture, H) {}

// GoogleTest prints its heading before its environments; this program must too.
void wait_at_fixture_point() {
  const auto fork = spore::testing::fake_fixture_point();
  if (!fork.forked) {
    return;
  }
  if (const auto filter = fork.user.find("gtest_filter"); filter != fork.user.end()) {
    GTEST_FLAG_SET(filter, filter->second);
    return;
  }
  setenv("GTEST_TOTAL_SHARDS", std::to_string(fork.shard_count).c_str(), 1);
  setenv("GTEST_SHARD_INDEX", std::to_string(fork.shard_index).c_str(), 1);
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!GTEST_FLAG_GET(list_tests)) {
    std::puts("building the index");
    g_index = "built";
    std::fflush(stdout);
    if (std::getenv("SUBJECT_EXIT_EARLY") != nullptr) {
      std::puts("cannot build it");
      return 7;
    }
    wait_at_fixture_point();
  }
  return RUN_ALL_TESTS();
}
