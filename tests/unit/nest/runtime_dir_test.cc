#include "nest/runtime_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "support/temporary_directory.h"

namespace spore::nest {
namespace {

using testing::ScopedVariable;
using testing::TemporaryDirectory;

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

}  // namespace
}  // namespace spore::nest
