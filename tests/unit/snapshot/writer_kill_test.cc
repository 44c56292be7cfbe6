// A writer that is killed leaves a whole spore at the final path, or nothing there.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <random>
#include <string>

#include "base/unique_fd.h"
#include "unit/snapshot/sample.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;

class KillTest : public ::testing::Test {
 protected:
  // Everything there is a staging directory or a whole spore. How many spores; then removes all.
  int check_and_clear() {
    int spores = 0;
    for (const auto& entry : fs::directory_iterator(directory_)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with('.') && name.ends_with(".tmp")) {
        continue;
      }
      ++spores;
      const auto whole = test::verify(entry.path().string());
      EXPECT_TRUE(whole) << whole.error().message();
    }
    for (const auto& entry : fs::directory_iterator(directory_)) {
      fs::remove_all(entry.path());
    }
    return spores;
  }

  // A process that has still to write the spore, and stands; 0: it may not be traced.
  static pid_t start_traced(const std::string& spore) {
    test::SporeToWrite what;
    what.ram.pages = {{5, test::page_of(5)}};  // one chunk, so that it needs one thread
    const pid_t child = ::fork();
    EXPECT_GE(child, 0);
    if (child == 0) {
      if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0 || ::raise(SIGSTOP) != 0) {
        ::_exit(77);
      }
      ::_exit(test::write_spore(spore, what) ? 0 : 1);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFSTOPPED(status) ? child : 0;
  }
  // A byte into `report` for each page, and one for the spore.
  void write_and_report(const std::string& name, int report) const {
    const auto tell = [report] { static_cast<void>(!::write(report, "", 1)); };
    auto writer = SporeWriter::create(directory_ + "/" + name);
    const test::SampleRam sample = test::sample_ram();
    RamToWrite ram = sample.to_write();
    ram.page = [&](std::size_t page) {
      tell();
      return sample.page(page);
    };
    Manifest manifest = test::sample_manifest();
    manifest.sections["ram"] = writer->write_ram(ram)->ref;
    manifest.sections["vm"] = *writer->write_section("{}");
    manifest.sections["agent"] = manifest.sections["vm"];
    static_cast<void>(writer->publish(manifest, ""));
    tell();
  }

  test::TemporaryDirectory folder_;
  const std::string directory_ = folder_.path();
};

// Lets a stopped child go on to its next system call, or back from it; false: it has ended.
bool step(pid_t child) {
  int status = 0;
  EXPECT_EQ(::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr), 0);
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status)) {
    EXPECT_EQ(WEXITSTATUS(status), 0);
    return false;
  }
  return WIFSTOPPED(status);
}

void kill_and_wait(pid_t child) {
  int status = 0;
  EXPECT_EQ(::kill(child, SIGKILL), 0);
  EXPECT_EQ(::waitpid(child, &status, 0), child);
}

// How many system calls a writer makes differs from time to time (its memory does): so those up to
// the rename are counted from the start, and those behind it from there.
TEST_F(KillTest, AtEverySystemCallOfAWriter) {
  const std::string spore = directory_ + "/spore";
  int absent = 0;
  for (int steps = 1;; ++steps) {
    const pid_t child = start_traced(spore);
    if (child == 0) {
      GTEST_SKIP() << "this process may not trace its children";
    }
    for (int i = 0; i < steps; ++i) {
      ASSERT_TRUE(step(child)) << "it ended without a spore";
      if (fs::exists(spore)) {
        break;
      }
    }
    kill_and_wait(child);
    if (check_and_clear() == 1) {
      break;
    }
    ++absent;
  }
  EXPECT_GT(absent, 50);

  int whole = 0;
  for (bool ended = false; !ended; ++whole) {
    const pid_t child = start_traced(spore);
    while (!fs::exists(spore)) {
      ASSERT_TRUE(step(child)) << "it ended without a spore";
    }
    for (int i = 0; i < whole && !ended; ++i) {
      ended = !step(child);
    }
    if (!ended) {
      kill_and_wait(child);
    }
    EXPECT_EQ(check_and_clear(), 1);
  }
  EXPECT_GT(whole, 3);
}

constexpr int kSpores = 4;
constexpr int kReports = 10;  // of each: its pages, and that it is published

TEST_F(KillTest, AtRandomMomentsOfAWriterWithManyThreads) {
  std::mt19937 random(20261121);  // NOLINT: the same every time
  int spores = 0;
  for (int round = 0; round < 200; ++round) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    base::UniqueFd progress(ends[0]);
    base::UniqueFd report(ends[1]);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (int i = 0; i < kSpores; ++i) {
        write_and_report(std::to_string(i), report.get());
      }
      ::pause();
      ::_exit(1);
    }
    report.reset();
    // Some spores' worth of pages, and then a little more of whatever the child does.
    char byte = 0;
    for (auto pages = random() % (kSpores * kReports); pages > 0; --pages) {
      ASSERT_EQ(::read(progress.get(), &byte, 1), 1);
    }
    for (auto turns = random() % 20; turns > 0; --turns) {
      ::sched_yield();
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    spores += check_and_clear();
  }
  EXPECT_GT(spores, 100);  // most were killed after their first
}

}  // namespace
}  // namespace spore::snapshot
