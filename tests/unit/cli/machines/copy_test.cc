// Copies by a "guest" whose sh and tar are this host's.
#include "cli/machines/copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/fake_session.h"
#include "support/scripted_machine.h"
#include "support/temporary_directory.h"

namespace spore::cli::machines {
namespace {

using testing::TemporaryDirectory;

using ::testing::HasSubstr;

namespace fs = std::filesystem;

class CopyTest : public ::testing::Test {
 protected:
  CopyTest() {
    std::signal(SIGPIPE, SIG_IGN);
    fs::create_directories(directory_ / "host/sub");
    fs::create_directories(directory_ / "guest");
    std::ofstream(directory_ / "host/f") << "of the host";
    std::ofstream(directory_ / "host/sub/g") << "deep";
  }
  static std::string contents(const std::string& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  TemporaryDirectory directory_;
  testing::FakeSession session_;
  std::unique_ptr<Machine> machine_ = std::move(*session_.boot({}, Milliseconds{0}));
  StartProcess start_ = [this](const ExecRequest& request) { return machine_->exec(request); };
};

TEST_F(CopyTest, FilesAndDirectoriesGoThereAndBack) {
  auto copied = copy_to_guest(start_, directory_ / "host/f", directory_ / "guest");
  ASSERT_TRUE(copied) << copied.error().message();
  EXPECT_EQ(copied->bytes, 11U);
  EXPECT_EQ(contents(directory_ / "guest/f"), "of the host");
  ASSERT_TRUE(copy_to_guest(start_, directory_ / "host/f", directory_ / "guest/renamed"));
  EXPECT_EQ(contents(directory_ / "guest/renamed"), "of the host");
  ASSERT_TRUE(copy_to_guest(start_, directory_ / "host", directory_ / "guest"));
  EXPECT_EQ(contents(directory_ / "guest/host/sub/g"), "deep");
  ASSERT_TRUE(copy_to_guest(start_, directory_ / "host/.", directory_ / "guest"));
  EXPECT_EQ(contents(directory_ / "guest/sub/g"), "deep");

  copied = copy_from_guest(start_, directory_ / "guest/f", directory_ / "back");
  ASSERT_TRUE(copied) << copied.error().message();
  EXPECT_EQ(contents(directory_ / "back"), "of the host");
  ASSERT_TRUE(copy_from_guest(start_, directory_ / "guest/sub", directory_ / "new"));
  EXPECT_EQ(contents(directory_ / "new/g"), "deep");
  ASSERT_TRUE(copy_from_guest(start_, directory_ / "guest/sub", directory_ / "new"));
  EXPECT_EQ(contents(directory_ / "new/sub/g"), "deep");
}

TEST_F(CopyTest, ALinkInTheGuestIsCopiedAsOneUnlessItEndsInASlash) {
  fs::create_directories(directory_ / "guest/d");
  std::ofstream(directory_ / "guest/d/x") << "x";
  fs::create_symlink("d", directory_ / "guest/link");
  ASSERT_TRUE(copy_from_guest(start_, directory_ / "guest/link", directory_ / "a"));
  EXPECT_EQ(fs::read_symlink(directory_ / "a"), "d");
  ASSERT_TRUE(copy_from_guest(start_, directory_ / "guest/link/", directory_ / "b"));
  EXPECT_EQ(contents(directory_ / "b/x"), "x");
}

TEST_F(CopyTest, OddNamesAreNamesOnly) {
  const std::string odd = "guest/-C $(touch gotcha) ' \n*";
  std::ofstream(directory_ / odd.c_str()) << "odd";
  const auto copied = copy_from_guest(start_, directory_ / odd.c_str(), directory_ / "o");
  ASSERT_TRUE(copied) << copied.error().message();
  EXPECT_EQ(contents(directory_ / "o"), "odd");
  ASSERT_TRUE(copy_to_guest(start_, directory_ / "o", directory_ / "guest/-x"));
  EXPECT_EQ(contents(directory_ / "guest/-x"), "odd");
}

TEST_F(CopyTest, WhatIsNotThereIsTold) {
  const auto source = copy_to_guest(start_, directory_ / "none", directory_ / "guest");
  ASSERT_FALSE(source);
  EXPECT_EQ(source.error().code(), ErrorCode::kNotFound);
  const auto guest = copy_from_guest(start_, directory_ / "none", directory_ / "x");
  ASSERT_FALSE(guest);
  EXPECT_THAT(guest.error().message(), HasSubstr("the guest has no"));
  const auto target = copy_to_guest(start_, directory_ / "host/f", directory_ / "no/where");
  ASSERT_FALSE(target);
  EXPECT_THAT(target.error().message(), HasSubstr("in the machine"));
}

TEST_F(CopyTest, AGuestWithoutTarIsTold) {
  const StartProcess without_tar =
      [this](const ExecRequest& request) -> Result<std::shared_ptr<Process>> {
    if (request.argv.front() == "tar") {
      return fail(ErrorCode::kNotFound, "no such program");
    }
    return machine_->exec(request);
  };
  for (const auto& copied : {copy_to_guest(without_tar, directory_ / "host", directory_ / "guest"),
                             copy_from_guest(without_tar, directory_ / "host", directory_ / "x")}) {
    ASSERT_FALSE(copied);
    EXPECT_EQ(copied.error().code(), ErrorCode::kUnavailable);
    EXPECT_THAT(copied.error().message(), HasSubstr("the guest has no tar"));
  }
}

// A tar that says what the test wants.
StartProcess with_tar(Machine& machine, std::string script) {
  return [&machine, script](ExecRequest request) {
    if (request.argv.front() == "tar") {
      request.argv = {"sh", "-c", script};
    }
    return machine.exec(request);
  };
}

TEST_F(CopyTest, WhatTarComplainsOfIsTold) {
  const auto failing = with_tar(*machine_, "echo no space >&2; exit 2");
  for (const auto& copied : {copy_to_guest(failing, directory_ / "host", directory_ / "guest"),
                             copy_from_guest(failing, directory_ / "host", directory_ / "x")}) {
    ASSERT_FALSE(copied);
    EXPECT_THAT(copied.error().message(), HasSubstr("ended with status 2: no space"));
  }
  std::ofstream(directory_ / "host/big") << std::string(4 << 20, 'b');
  const auto early = copy_to_guest(failing, directory_ / "host", directory_ / "guest");
  ASSERT_FALSE(early);
  EXPECT_THAT(early.error().message(), HasSubstr("no space"));
}

TEST_F(CopyTest, AGuestThatSendsNoTarIsTold) {
  const auto copied = copy_from_guest(with_tar(*machine_, "yes | head -c 1000000; exec sleep 60"),
                                      directory_ / "host", directory_ / "x");
  EXPECT_FALSE(copied);
}

TEST_F(CopyTest, AMachineThatEndsIsTold) {
  testing::ScriptedMachine machine;
  machine.on_exec = [](const ExecRequest&) {
    auto process = std::make_shared<testing::ScriptedProcess>();
    process->end(Lost{{EndReason::kPoweredOff, "", ""}});
    return process;
  };
  const auto copied = copy_from_guest(
      [&](const ExecRequest& request) { return machine.exec(request); }, "/x", directory_ / "x");
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().code(), ErrorCode::kMachineEnded);
  EXPECT_THAT(copied.error().message(), HasSubstr("powered off"));
}

}  // namespace
}  // namespace spore::cli::machines
