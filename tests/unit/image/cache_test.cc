#include "image/cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "unit/image/temporary.h"

namespace spore::image {
namespace {

using test::TemporaryDirectory;

TEST(CacheTest, PublishesWholeFilesOnce) {
  TemporaryDirectory directory;
  auto cache = Cache::open_at(directory.path("a/b"));
  ASSERT_TRUE(cache);
  int built = 0;
  const auto build = [&](int fd) {
    ++built;
    return write_all(fd, "content", "it");
  };
  auto first = cache->get("thing", build);
  auto second = cache->get("thing", build);
  ASSERT_TRUE(first) << first.error().message();
  ASSERT_TRUE(second);
  EXPECT_EQ(*first, *second);
  EXPECT_EQ(test::read_all(*first), "content");
  EXPECT_EQ(built, 1);
  struct stat status {};
  ASSERT_EQ(::stat(directory.path("a/b").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
}

TEST(CacheTest, AFailedBuildLeavesNothing) {
  TemporaryDirectory directory;
  auto cache = Cache::open_at(directory.path("cache"));
  auto failed = cache->get("thing", [&](int fd) -> Result<void> {
    SPORE_TRY(write_all(fd, "half", "it"));
    return fail(ErrorCode::kCorrupt, "no");
  });
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(test::count_entries(directory.path("cache")), 1u);  // the lock
}

TEST(CacheTest, ANamedTemporaryFileIsPublishedOrRemovedToo) {
  TemporaryDirectory directory;
  auto cache = Cache::open_at(directory.path());
  {
    auto file = CacheFile::create_named(*cache, "dropped");
    ASSERT_TRUE(file);
    EXPECT_EQ(::access(directory.path("dropped.tmp").c_str(), F_OK), 0);
  }
  auto file = CacheFile::create_named(*cache, "kept");
  ASSERT_TRUE(write_all(file->fd(), "bytes", "it"));
  ASSERT_TRUE(file->publish(directory.path("kept")));
  EXPECT_EQ(test::read_all(directory.path("kept")), "bytes");
  EXPECT_EQ(test::count_entries(directory.path()), 1u);
}

TEST(CacheTest, TheNextBuildRemovesWhatDeadOnesLeftAndSparesLiveOnes) {
  TemporaryDirectory directory;
  auto cache = Cache::open_at(directory.path());
  directory.write("dead.tmp", "half");
  directory.write("live.tmp", "half");
  auto live = cache->lock("live");
  ASSERT_TRUE(live);
  directory.write("live.tmp", "half");
  auto next = cache->lock("next");
  ASSERT_TRUE(next);
  EXPECT_NE(::access(directory.path("dead.tmp").c_str(), F_OK), 0);
  EXPECT_EQ(::access(directory.path("live.tmp").c_str(), F_OK), 0);
}

TEST(CacheTest, ConcurrentBuildsDoTheWorkOnce) {
  TemporaryDirectory directory;
  auto cache = Cache::open_at(directory.path());
  std::atomic<int> built = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      auto path = cache->get("thing", [&](int fd) {
        ++built;
        return write_all(fd, std::string(100'000, 'x'), "it");
      });
      ASSERT_TRUE(path);
      EXPECT_EQ(test::read_all(*path).size(), 100'000u);
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(built, 1);
}

TEST(CacheTest, AFileInThePlaceOfTheDirectoryIsSaid) {
  TemporaryDirectory directory;
  const std::string file = directory.write("file", "x");
  auto cache = Cache::open_at(file);
  ASSERT_FALSE(cache);
  EXPECT_THAT(cache.error().message(), testing::HasSubstr(file));
  EXPECT_FALSE(Cache::open_at(file + "/below"));
}

TEST(CacheTest, TheEnvironmentChoosesTheDirectory) {
  TemporaryDirectory directory;
  ::setenv("SPORE_CACHE_DIR", directory.path("chosen").c_str(), 1);
  auto cache = Cache::open();
  ::unsetenv("SPORE_CACHE_DIR");
  ASSERT_TRUE(cache);
  EXPECT_EQ(cache->directory(), directory.path("chosen"));
  ::setenv("XDG_CACHE_HOME", directory.path("xdg").c_str(), 1);
  cache = Cache::open();
  ::unsetenv("XDG_CACHE_HOME");
  ASSERT_TRUE(cache);
  EXPECT_EQ(cache->directory(), directory.path("xdg/spore"));
}

}  // namespace
}  // namespace spore::image
