#include "nest/runtime_dir.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "temporary_directory.h"

namespace spore::nest {
namespace {

using ::testing::HasSubstr;

TEST(RuntimeDir, IsMadePrivate) {
  const TemporaryDirectory parent;
  ASSERT_TRUE(RuntimeDir::open_at(parent / "a/b"));
  struct stat status {};
  ASSERT_EQ(stat((parent / "a/b").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0700U);
}

TEST(RuntimeDir, RefusesOneThatOthersCanEnter) {
  const TemporaryDirectory parent;
  for (const mode_t mode : {0750, 0701, 0777}) {
    mkdir((parent / "open").c_str(), 0700);
    chmod((parent / "open").c_str(), mode);
    const auto dir = RuntimeDir::open_at(parent / "open");
    ASSERT_FALSE(dir);
    EXPECT_EQ(dir.error().code(), ErrorCode::kPermissionDenied);
    EXPECT_THAT(dir.error().message(), HasSubstr("chmod 700"));
  }
}

TEST(RuntimeDir, RefusesOneOfAnotherUser) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "only root can give a directory away";
  }
  const TemporaryDirectory parent;
  mkdir((parent / "theirs").c_str(), 0700);
  ASSERT_EQ(chown((parent / "theirs").c_str(), 12345, 12345), 0);
  const auto dir = RuntimeDir::open_at(parent / "theirs");
  ASSERT_FALSE(dir);
  EXPECT_THAT(dir.error().message(), HasSubstr("belongs to user 12345"));
}

TEST(RuntimeDir, RefusesASymbolicLink) {
  const TemporaryDirectory parent;
  mkdir((parent / "real").c_str(), 0700);
  ASSERT_EQ(symlink((parent / "real").c_str(), (parent / "link").c_str()), 0);
  const auto dir = RuntimeDir::open_at(parent / "link");
  ASSERT_FALSE(dir);
  EXPECT_THAT(dir.error().message(), HasSubstr("not a directory"));
}

TEST(RuntimeDir, RefusesAPathTooLongForSockets) {
  const auto dir = RuntimeDir::open_at("/" + std::string(100, 'x'));
  ASSERT_FALSE(dir);
  EXPECT_THAT(dir.error().message(), HasSubstr("SPORE_RUNTIME_DIR"));
}

TEST(RuntimeDir, RefusesARelativePath) {
  const auto dir = RuntimeDir::open_at("nest");
  ASSERT_FALSE(dir);
  EXPECT_EQ(dir.error().code(), ErrorCode::kInvalidArgument);
}

TEST(RuntimeDir, FollowsTheEnvironment) {
  const ScopedVariable ours("SPORE_RUNTIME_DIR", "/ours");
  const ScopedVariable session("XDG_RUNTIME_DIR", "/session");
  EXPECT_EQ(RuntimeDir::default_path(), "/ours");
  const ScopedVariable empty("SPORE_RUNTIME_DIR", "");
  EXPECT_EQ(RuntimeDir::default_path(), "/session/spore");
  const ScopedVariable none("XDG_RUNTIME_DIR", nullptr);
  EXPECT_EQ(RuntimeDir::default_path(), "/tmp/spore-" + std::to_string(geteuid()));
}

TEST(RuntimeDir, RemovesSocketsAndStateButNoLocks) {
  const TemporaryDirectory parent;
  const auto dir = RuntimeDir::open_at(parent / "run");
  ASSERT_TRUE(dir);
  for (const std::string& path :
       {dir->port_socket(3), dir->state(), dir->port_lock(3), dir->alive_lock()}) {
    std::ofstream(path) << "old";
  }
  dir->remove_stale_files();
  EXPECT_NE(access(dir->port_socket(3).c_str(), F_OK), 0);
  EXPECT_NE(access(dir->state().c_str(), F_OK), 0);
  EXPECT_EQ(access(dir->port_lock(3).c_str(), F_OK), 0);
  EXPECT_EQ(access(dir->alive_lock().c_str(), F_OK), 0);
}

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
}  // namespace spore::nest
