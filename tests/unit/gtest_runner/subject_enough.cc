// A test program for what ends a run early: one test fails when another runs, which then goes on to
// its end; the others would never end. They meet in the directory $SUBJECT_MEETING.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace {

std::filesystem::path meeting(const char* name) {
  const char* directory = std::getenv("SUBJECT_MEETING");
  return std::filesystem::path(directory == nullptr ? "/nowhere" : directory) / name;
}

void await(const char* name) {
  while (!std::filesystem::exists(meeting(name))) {
    usleep(1000);
  }
}

void never_end() {
  for (;;) {
    pause();
  }
}

TEST(Enough, Fails) {
  await("goes-on");
  FAIL() << "that is <enough>";
}
TEST(Enough, GoesOn) {
  std::ofstream(meeting("goes-on")) << "began";
  await("failed");
  if (std::getenv("SUBJECT_ABORTS") != nullptr) {
    std::abort();
  }
}
TEST(Enough, Never) {
  never_end();
}
TEST(Late, Never) {
  never_end();
}

}  // namespace
