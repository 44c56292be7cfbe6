#include "cli/machines/registry.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>
#include <vector>

#include "cli/machines/removal.h"
#include "support/temporary_directory.h"

namespace spore::cli::machines {
namespace {

using testing::ScopedVariable;
using testing::TemporaryDirectory;

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RegistryTest : public ::testing::Test {
 protected:
  [[nodiscard]] bool has_folder(const std::string& name) const {
    return access(registry_.folder(name).path().c_str(), F_OK) == 0;
  }

  MonitorRecord record_of(pid_t pid) {
    MonitorRecord record;
    record.pid = pid;
    record.pid_start_time = process_start_time(pid).value_or(0);
    record.engine = "nest";
    return record;
  }

  TemporaryDirectory directory_;
  Registry registry_ = *Registry::open_at(directory_ / "machines");
};

// A process that holds what it inherited until it is ended.
class Holder {
 public:
  explicit Holder(bool heeds_term = true) {
    pid_ = fork();
    if (pid_ == 0) {
      signal(SIGTERM, heeds_term ? SIG_DFL : SIG_IGN);
      for (;;) {
        pause();
      }
    }
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  ~Holder() { end(); }
  void end() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(std::exchange(pid_, -1), nullptr, 0);
    }
  }
  [[nodiscard]] bool alive() const { return waitpid(pid_, nullptr, WNOHANG) == 0; }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

TEST(CheckName, TellsNames) {
  for (const std::string name : {"a", "web", "0", "a.b_c-d", "9lives"}) {
    EXPECT_TRUE(check_name(name)) << name;
  }
  EXPECT_TRUE(check_name(std::string(63, 'a')));
  for (const std::string name :
       {"", ".", "..", ".a", "-a", "_a", "A", "aB", "a/b", "a b", "a\n", "\xc3\xa4", "../a"}) {
    const auto checked = check_name(name);
    ASSERT_FALSE(checked) << name;
    EXPECT_THAT(checked.error().message(), HasSubstr("a name is 1 to 63 of a-z"));
  }
  EXPECT_FALSE(check_name(std::string(64, 'a')));
  EXPECT_FALSE(check_name(std::string("a\0b", 3)));
}

TEST_F(RegistryTest, LiesInTheRuntimeDirectory) {
  const ScopedVariable runtime("SPORE_RUNTIME_DIR", (directory_ / "run").c_str());
  const auto registry = Registry::open();
  ASSERT_TRUE(registry) << registry.error().message();
  EXPECT_EQ(registry->folder("web").path(), directory_ / "run/machines/web");
  struct stat status {};
  ASSERT_EQ(stat((directory_ / "run/machines").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0700U);
}

TEST_F(RegistryTest, RefusesADirectoryThatOthersCanEnter) {
  chmod((directory_ / "machines").c_str(), 0755);
  EXPECT_FALSE(Registry::open_at(directory_ / "machines"));
}

TEST_F(RegistryTest, AMachineGoesThroughItsStates) {
  auto claim = registry_.claim("web");
  ASSERT_TRUE(claim) << claim.error().message();
  EXPECT_EQ(registry_.find("web")->state, State::kStarting);
  MonitorRecord record = record_of(getpid());
  record.engine.clear();
  ASSERT_TRUE(claim->folder.write_record(record));
  EXPECT_EQ(registry_.find("web")->state, State::kStarting);
  record.engine = "kvm";
  record.memory_bytes = 7;
  ASSERT_TRUE(claim->folder.write_record(record));
  const auto running = registry_.find("web");
  EXPECT_EQ(running->state, State::kRunning);
  EXPECT_EQ(running->record->memory_bytes, 7U);
  record.ended = true;
  record.end = "the machine powered off";
  ASSERT_TRUE(claim->folder.write_record(record));
  EXPECT_EQ(registry_.find("web")->state, State::kEnded) << "even while its monitor is there";
  const std::string path = claim->folder.path();
  claim = fail(ErrorCode::kInternal, "");
  EXPECT_EQ(registry_.find("web")->record->end, "the machine powered off");
  EXPECT_TRUE(registry_.remove("web", 0));
  EXPECT_FALSE(has_folder("web"));
}

TEST_F(RegistryTest, ASuspendedMachineStaysUntilItIsResumedOrRemoved) {
  auto claim = registry_.claim("web");
  ASSERT_TRUE(claim);
  MonitorRecord record = record_of(getpid());
  ASSERT_TRUE(claim->folder.write_record(record));
  const auto running = registry_.claim_suspended("web");
  ASSERT_FALSE(running);
  EXPECT_THAT(running.error().message(), HasSubstr("it is running, not suspended"));
  record.ended = true;
  record.spore = claim->folder.path() + "/suspended-1";
  ASSERT_TRUE(claim->folder.write_record(record));
  claim = fail(ErrorCode::kInternal, "");
  EXPECT_EQ(registry_.find("web")->state, State::kSuspended);
  EXPECT_EQ(registry_.list()->entries.size(), 1U);
  EXPECT_FALSE(registry_.claim("web")) << "its name is taken";

  auto resumed = registry_.claim_suspended("web");
  ASSERT_TRUE(resumed) << resumed.error().message();
  EXPECT_FALSE(registry_.claim_suspended("web")) << "once";
  record.ended = false;
  ASSERT_TRUE(resumed->folder.write_record(record));
  EXPECT_EQ(registry_.find("web")->state, State::kRunning);
  resumed = fail(ErrorCode::kInternal, "");  // its monitor dies
  EXPECT_EQ(registry_.find("web")->state, State::kSuspended) << "it can be resumed again";
  EXPECT_TRUE(registry_.remove("web", 0));
  EXPECT_FALSE(registry_.claim_suspended("web"));
}

TEST_F(RegistryTest, ANameIsTakenOnce) {
  const auto claim = registry_.claim("web");
  ASSERT_TRUE(claim);
  const auto second = registry_.claim("web");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(second.error().message(), HasSubstr("spore rm -f web"));
  EXPECT_FALSE(registry_.claim("../web"));
}

TEST_F(RegistryTest, OneOfManyThreadsWins) {
  constexpr int kThreads = 8;
  for (int round = 0; round < 10; ++round) {
    std::atomic<int> winners = 0;
    std::vector<std::optional<Claim>> claims(kThreads);
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        if (auto claim = registry_.claim("web")) {
          claims[static_cast<std::size_t>(i)] = std::move(*claim);
          ++winners;
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    ASSERT_EQ(winners, 1);
    claims.clear();
    ASSERT_TRUE(registry_.remove("web", 0));
  }
}

TEST_F(RegistryTest, OneOfManyProcessesWins) {
  constexpr int kProcesses = 6;
  int gate[2];
  int answers[2];
  ASSERT_EQ(pipe2(gate, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(answers, O_CLOEXEC), 0);
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    children.push_back(fork());
    if (children.back() == 0) {
      close(gate[1]);
      char byte = 0;
      static_cast<void>(!read(gate[0], &byte, 1));  // all start at its end
      const auto claim = registry_.claim("web");
      byte = claim ? 'w' : 'l';
      static_cast<void>(!write(answers[1], &byte, 1));
      pause();
    }
  }
  close(gate[0]);
  close(gate[1]);
  int winners = 0;
  for (int i = 0; i < kProcesses; ++i) {
    char byte = 0;
    ASSERT_EQ(read(answers[0], &byte, 1), 1);
    winners += byte == 'w' ? 1 : 0;
  }
  EXPECT_EQ(winners, 1);
  for (const pid_t child : children) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  EXPECT_TRUE(registry_.claim("web")) << "what a dead one left is no obstacle";
  close(answers[0]);
  close(answers[1]);
}

TEST_F(RegistryTest, WhatADeadMonitorLeftIsRemovedByWhoFindsIt) {
  for (const char* name : {"found", "listed", "claimed"}) {
    auto claim = registry_.claim(name);
    ASSERT_TRUE(claim);
    ASSERT_TRUE(claim->folder.write_record(record_of(getpid())));
  }
  const auto found = registry_.find("found");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(found.error().message(), HasSubstr("its monitor died"));
  EXPECT_FALSE(has_folder("found"));
  const auto claimed = registry_.claim("claimed");
  EXPECT_TRUE(claimed);
  const auto listing = registry_.list();
  ASSERT_TRUE(listing);
  EXPECT_THAT(listing->gone, ElementsAre("listed"));
  ASSERT_EQ(listing->entries.size(), 1U);
  EXPECT_EQ(listing->entries[0].name, "claimed");
  EXPECT_FALSE(has_folder("listed"));
  EXPECT_THAT(registry_.find("found").error().message(), HasSubstr("there is none of that name"));
}

TEST_F(RegistryTest, AHalfWrittenRecordIsNone) {
  for (const char* text : {"", "{", "[1]", "{\"pid\": \"x\"}", "\xff\xfe"}) {
    const auto claim = registry_.claim("web");
    ASSERT_TRUE(claim);
    std::ofstream(claim->folder.path() + "/monitor.json") << text;
    const auto entry = registry_.find("web");
    ASSERT_TRUE(entry);
    EXPECT_FALSE(entry->record);
    EXPECT_TRUE(registry_.remove_own(claim->folder));
  }
}

TEST_F(RegistryTest, TellsAProcessFromALaterOneWithItsPid) {
  Holder holder;
  MonitorRecord record = record_of(holder.pid());
  const auto monitor = open_monitor(record);
  EXPECT_TRUE(monitor && *monitor);
  record.pid_start_time -= 1;
  const auto recycled = open_monitor(record);
  ASSERT_TRUE(recycled);
  EXPECT_FALSE(*recycled);
  record.pid_start_time += 1;
  holder.end();
  const auto gone = open_monitor(record);
  ASSERT_TRUE(gone);
  EXPECT_FALSE(*gone);
}

TEST_F(RegistryTest, RemovalNeverHitsARecycledPid) {
  Holder bystander;
  std::optional<Holder> monitor;
  {
    const auto claim = registry_.claim("web");
    ASSERT_TRUE(claim);
    monitor.emplace();  // holds the lock
    MonitorRecord record = record_of(bystander.pid());
    record.pid_start_time -= 1;
    ASSERT_TRUE(claim->folder.write_record(record));
  }
  EXPECT_FALSE(remove_machine(registry_, "web", true)) << "somebody lives there";
  EXPECT_TRUE(bystander.alive());
  monitor->end();
  EXPECT_EQ(remove_machine(registry_, "web", true).error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(bystander.alive());
  EXPECT_FALSE(has_folder("web"));
}

TEST_F(RegistryTest, RemovalOfARunningMachineNeedsForce) {
  std::optional<Holder> monitor;
  {
    const auto claim = registry_.claim("web");
    ASSERT_TRUE(claim);
    monitor.emplace();
    ASSERT_TRUE(claim->folder.write_record(record_of(monitor->pid())));
  }
  const auto refused = remove_machine(registry_, "web", false);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), HasSubstr("spore rm -f web"));
  EXPECT_TRUE(monitor->alive());
  // Nothing but a signal reaches this one, which leaves its folder; nobody else knows its name.
  EXPECT_TRUE(remove_machine(registry_, "web", true));
  EXPECT_FALSE(has_folder("web"));
  EXPECT_EQ(registry_.find("web").error().code(), ErrorCode::kNotFound);
}

TEST_F(RegistryTest, RemovalLeavesALaterMachineOfTheSameNameAlone) {
  const auto claim = registry_.claim("web");
  ASSERT_TRUE(claim);
  MonitorRecord record = record_of(getpid());
  ASSERT_TRUE(claim->folder.write_record(record));
  EXPECT_TRUE(registry_.remove("web", record.pid_start_time + 1));
  EXPECT_TRUE(has_folder("web"));
  EXPECT_FALSE(registry_.remove("web", record.pid_start_time)) << "its monitor lives";
}

TEST_F(RegistryTest, StraysAreNotMachines) {
  mkdir((directory_ / "machines/UPPER").c_str(), 0700);
  std::ofstream(directory_ / "machines/.hidden") << "x";
  const auto listing = registry_.list();
  ASSERT_TRUE(listing);
  EXPECT_TRUE(listing->entries.empty());
  EXPECT_EQ(access((directory_ / "machines/UPPER").c_str(), F_OK), 0);
}

}  // namespace
}  // namespace spore::cli::machines
