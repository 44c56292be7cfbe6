#include "session/ended.h"

#include <gtest/gtest.h>

namespace spore::session {
namespace {

TEST(Ended, ItsDetailIsTold) {
  EXPECT_EQ(describe_end({EndReason::kPanicked, "Kernel panic - not syncing: no init", {}}),
            "the guest kernel panicked (Kernel panic - not syncing: no init)");
  EXPECT_EQ(describe_end({EndReason::kPoweredOff, {}, "tail"}), "the machine powered off");
}

TEST(Ended, AConsoleCannotSteerTheTerminalItIsShownOn) {
  EXPECT_EQ(with_console("it stopped", "\x1b[2Jred\x07\r\nend\n"),
            "it stopped; the end of its console:\n[2Jred\nend");
  EXPECT_EQ(describe_end({EndReason::kPanicked, "\x1b[2Jred\x07", {}}),
            "the guest kernel panicked ([2Jred)");
}

TEST(Ended, OnlyTheLastLinesOfAConsoleAreShown) {
  std::string console;
  for (int i = 0; i < 100; ++i) {
    console += "line " + std::to_string(i) + "\n";
  }
  const std::string text = with_console("it stopped", console);
  EXPECT_EQ(text.find("line 79\n"), std::string::npos);
  EXPECT_NE(text.find("console:\nline 80\n"), std::string::npos);
  EXPECT_TRUE(text.ends_with("line 99"));
  EXPECT_EQ(with_console("it stopped", ""), "it stopped; its console is empty");
}

TEST(Ended, MemoryIsAdvisedOnlyWhereSomethingSaysSo) {
  EXPECT_EQ(memory_advice("all is well", 512 * kMiB), "");
  EXPECT_NE(memory_advice("Initramfs unpacking failed: write error", 512 * kMiB), "");
  EXPECT_NE(memory_advice("", 32 * kMiB), "");
}

}  // namespace
}  // namespace spore::session
