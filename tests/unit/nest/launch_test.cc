#include "nest/launch.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <optional>
#include <sstream>

#include "nest/runtime_dir.h"
#include "support/temporary_directory.h"

namespace spore::nest {
namespace {

using testing::TemporaryDirectory;

constexpr int kBoundMs = 30'000;

bool wait_readable(int fd) {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&entry, 1, kBoundMs) == 1;
}

std::string contents(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class Launch : public ::testing::Test {
 protected:
  Launch() : lock_(std::move(**FileLock::take(directory_ / "lock", 0))) {}

  Result<DetachedProcess> launch(const std::string& script) {
    return DetachedProcess::launch({"/bin/sh", "-c", script}, directory_ / "log", lock_->fd());
  }

  TemporaryDirectory directory_;
  std::optional<FileLock> lock_;
};

TEST_F(Launch, OutputGoesToTheLogAndInputIsEmpty) {
  auto process = launch("cat; echo out; echo err >&2");
  ASSERT_TRUE(process) << process.error().message();
  ASSERT_TRUE(wait_readable(process->pidfd()));
  EXPECT_EQ(contents(directory_ / "log"), "out\nerr\n");
}

TEST_F(Launch, HasItsOwnSession) {
  auto process = launch("exec sleep 100");
  ASSERT_TRUE(process);
  EXPECT_NE(getsid(process->pid()), getsid(0));
}

TEST_F(Launch, EndsWithAnObjectThatDidNotLetItGo) {
  base::UniqueFd watch;
  {
    auto process = launch("exec sleep 100");
    ASSERT_TRUE(process);
    watch = std::move(*open_pidfd(process->pid()));
  }
  EXPECT_TRUE(wait_readable(watch.get()));
}

TEST_F(Launch, StaysWhenItWasLetGoAndKeepsTheLock) {
  base::UniqueFd watch;
  pid_t pid = -1;
  {
    auto process = launch("exec sleep 100");
    ASSERT_TRUE(process);
    pid = process->pid();
    watch = std::move(*open_pidfd(pid));
    process->keep_running();
  }
  lock_.reset();
  pollfd entry{.fd = watch.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&entry, 1, 0), 0) << "it ended";
  EXPECT_EQ(FileLock::is_held(directory_ / "lock"), true);
  kill(pid, SIGKILL);
  EXPECT_TRUE(wait_readable(watch.get()));
}

TEST_F(Launch, EndsWhenTheStarterIsKilled) {
  int report[2];
  ASSERT_EQ(pipe2(report, O_CLOEXEC), 0);
  const pid_t starter = fork();
  if (starter == 0) {
    auto process = launch("exec sleep 100");
    const pid_t pid = process ? process->pid() : -1;
    static_cast<void>(!write(report[1], &pid, sizeof(pid)));
    for (;;) {
      pause();
    }
  }
  pid_t pid = -1;
  ASSERT_EQ(read(report[0], &pid, sizeof(pid)), static_cast<ssize_t>(sizeof(pid)));
  ASSERT_GT(pid, 0);
  const auto watch = open_pidfd(pid);
  ASSERT_TRUE(watch);
  kill(starter, SIGKILL);
  waitpid(starter, nullptr, 0);
  EXPECT_TRUE(wait_readable(watch->get()));
  close(report[0]);
  close(report[1]);
}

TEST_F(Launch, PassesOnNothingButTheLock) {
  const base::UniqueFd leaky(open("/dev/null", O_RDONLY));  // without O_CLOEXEC
  auto process = launch("ls /proc/self/fd | wc -l");
  ASSERT_TRUE(process);
  ASSERT_TRUE(wait_readable(process->pidfd()));
  EXPECT_EQ(std::stoi(contents(directory_ / "log")), 5) << "three, the lock, and ls's own";
}

TEST_F(Launch, AProgramThatIsNotThereIsAnError) {
  const auto process =
      DetachedProcess::launch({"/nonexistent/program"}, directory_ / "log", lock_->fd());
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(process.error().message(), ::testing::HasSubstr("/nonexistent/program"));
}

}  // namespace
}  // namespace spore::nest
