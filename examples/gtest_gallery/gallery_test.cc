// What goes wrong in tests, one of each. Without machines this program is over at the first crash;
// under spore-test each costs itself only:
//
//   spore-test --spore-dist=each --timeout 60 --memory 128M --keep-failed kept gallery_test
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

// An expensive set-up, once for all tests and all machines.
class Environment : public testing::Environment {
  void SetUp() override { std::puts("preparing the gallery"); }
};
[[maybe_unused]] const auto* const g_environment =
    testing::AddGlobalTestEnvironment(new Environment);

TEST(Gallery, Before) {}

TEST(Gallery, FailsAnAssertion) {
  const int answer = 6 * 9;
  EXPECT_EQ(answer, 42);
}

TEST(Gallery, ReadsThroughANullPointer) {
  std::puts("reading");
  const volatile int* const nowhere = nullptr;
  EXPECT_EQ(*nowhere, 0);
}

TEST(Gallery, Aborts) {
  std::fputs("giving up\n", stderr);
  std::abort();
}

TEST(Gallery, CallsExit) {
  std::exit(0);
}

TEST(Gallery, Hangs) {
  std::mutex mutex;
  const std::lock_guard lock(mutex);
  pause();
}

TEST(Gallery, TakesAllMemory) {
  std::vector<std::unique_ptr<char[]>> hoard;
  for (;;) {
    hoard.push_back(std::make_unique<char[]>(kMiB));
    std::memset(hoard.back().get(), 1, kMiB);
  }
}

TEST(Gallery, LeaksAFile) {
  std::ofstream("/tmp/left-behind") << "by a test";
}

TEST(Gallery, FindsNoFileOfAnotherTest) {
  EXPECT_FALSE(std::ifstream("/tmp/left-behind"));
}

TEST(Gallery, KillsItsMachine) {
  std::ofstream("/proc/sysrq-trigger") << "c";
  pause();
}

TEST(Gallery, After) {}

}  // namespace
