#include "base/file_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/temporary_directory.h"

namespace spore::base {
namespace {

using testing::TemporaryDirectory;

TEST(FileLock, IsExclusiveAndSeenWithoutTakingIt) {
  const TemporaryDirectory parent;
  const std::string path = parent / "lock";
  EXPECT_EQ(FileLock::is_held(path), false);
  {
    const auto first = FileLock::take(path, 0);
    ASSERT_TRUE(first && *first);
    EXPECT_EQ(FileLock::is_held(path), true);
    const auto second = FileLock::take(path, 0);
    ASSERT_TRUE(second);
    EXPECT_FALSE(second->has_value());
  }
  EXPECT_EQ(FileLock::is_held(path), false);
  const auto third = FileLock::take(path, 0);
  EXPECT_TRUE(third && *third);
}

TEST(FileLock, EndsWithTheLastProcessThatHasIt) {
  const TemporaryDirectory parent;
  const std::string path = parent / "lock";
  int gate[2];
  ASSERT_EQ(pipe2(gate, O_CLOEXEC), 0);
  pid_t child = -1;
  {
    const auto lock = FileLock::take(path, 0);
    ASSERT_TRUE(lock && *lock);
    child = fork();
    if (child == 0) {
      close(gate[1]);
      char byte = 0;
      static_cast<void>(!read(gate[0], &byte, 1));
      _exit(0);
    }
  }
  EXPECT_EQ(FileLock::is_held(path), true) << "the child still has it";
  close(gate[1]);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(FileLock::is_held(path), false);
  close(gate[0]);
}

TEST(FileLock, IsNotTakenThroughASymbolicLink) {
  const TemporaryDirectory parent;
  ASSERT_EQ(symlink("/etc/hosts", (parent / "lock").c_str()), 0);
  EXPECT_FALSE(FileLock::take(parent / "lock", 0));
}

}  // namespace
}  // namespace spore::base
