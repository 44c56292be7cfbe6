#include "cli/machines/console_relay.h"

#include <gtest/gtest.h>

namespace spore::cli::machines {
namespace {

TEST(ConsoleNews, IsWhatCameSince) {
  EXPECT_EQ(console_news("", ""), "");
  EXPECT_EQ(console_news("", "ab"), "ab");
  EXPECT_EQ(console_news("ab", "ab"), "");
  EXPECT_EQ(console_news("ab", "abcd"), "cd");
  EXPECT_EQ(console_news("abcd", "cdef"), "ef") << "its beginning was forgotten";
  EXPECT_EQ(console_news("abcd", "xyz"), "xyz");
  EXPECT_EQ(console_news("abcd", ""), "");
  EXPECT_EQ(console_news("aaab", "abaab"), "aab");
  EXPECT_EQ(console_news("xabab", "ababc"), "c");
}

}  // namespace
}  // namespace spore::cli::machines
