#include "gtest_runner/failures/debug.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace spore::gtest_runner {
namespace {

using ::testing::HasSubstr;

class DebugTest : public ::testing::Test {
 protected:
  DebugTest() {
    options_.keep_failed = ::testing::TempDir() + "/spore_debug_XXXXXX";
    if (mkdtemp(options_.keep_failed.data()) == nullptr) {
      std::abort();
    }
    options_.debug = "Suite.Fails";
  }
  ~DebugTest() override { std::filesystem::remove_all(options_.keep_failed); }
  void keep(const std::string& name) {
    std::filesystem::create_directories(options_.keep_failed + "/" + name);
  }
  Options options_;
};

TEST_F(DebugTest, TakesTheNewestRunThatKeptTheTest) {
  for (const char* name : {"2/Suite.Fails", "9/Suite.Fails", "10/Suite.Fails", "11/Suite.Other",
                           "12.tmp/Suite.Fails", "x/Suite.Fails"}) {
    keep(name);
  }
  const auto found = find_kept_failure(options_);
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ(*found, options_.keep_failed + "/10/Suite.Fails");
}

TEST_F(DebugTest, NamesWhatIsKeptInPlaceOfTheTest) {
  const auto none = find_kept_failure(options_);
  EXPECT_THAT(none.error().message(), HasSubstr("there is none of any test"));
  keep("1/fixture-point");
  keep("1/Suite.Other");
  const auto other = find_kept_failure(options_);
  EXPECT_THAT(other.error().message(), HasSubstr("there are Suite.Other"));
}

TEST_F(DebugTest, QuotesWhatAShellReads) {
  const auto words = debug_command({.path = "/a b/it's"}, "/kept here/x", "/bin/spore");
  EXPECT_EQ(words.front(), "gdb");
  EXPECT_EQ(words.back(), "/a b/it's");
  EXPECT_THAT(words[words.size() - 2],
              AllOf(HasSubstr("'/bin/spore' run --from '/kept here/x' -- sh -c '"),
                    ::testing::EndsWith("' '/a b/it'\\''s'")));
}

}  // namespace
}  // namespace spore::gtest_runner
