#include "nest/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "support/temporary_directory.h"

namespace spore::nest {
namespace {

using testing::ScopedVariable;
using testing::TemporaryDirectory;

using ::testing::HasSubstr;

constexpr std::uint64_t kGiB = 1ULL << 30;

TEST(NestMemory, IsReadInUnits) {
  EXPECT_EQ(parse_memory("4G", "X"), 4 * kGiB);
  EXPECT_EQ(parse_memory("1024M", "X"), kGiB);
  EXPECT_EQ(parse_memory("3072", "X"), 3 * kGiB);
}

TEST(NestMemory, RefusesWhatIsNoAmount) {
  for (const char* text : {"", "G", "4g", "-4G", "4 G", "512M", "0", "99999999999999999999G",
                           "18446744073709551615M", "4GG", "2000G"}) {
    const auto memory = parse_memory(text, "SPORE_NEST_MEMORY");
    ASSERT_FALSE(memory) << text;
    EXPECT_THAT(memory.error().message(), HasSubstr("SPORE_NEST_MEMORY"));
  }
}

TEST(NestMemory, DefaultsWithinBounds) {
  const ScopedVariable none("SPORE_NEST_MEMORY", nullptr);
  const auto memory = nest_memory();
  ASSERT_TRUE(memory);
  EXPECT_GE(*memory, 2 * kGiB);
  EXPECT_LE(*memory, 16 * kGiB);
}

TEST(NestIdle, IsReadAndChecked) {
  {
    const ScopedVariable given("SPORE_NEST_IDLE", "5");
    EXPECT_EQ(nest_idle_seconds(), 5U);
  }
  for (const char* text : {"0", "-1", "ten", "1e3", "99999999999"}) {
    const ScopedVariable given("SPORE_NEST_IDLE", text);
    EXPECT_FALSE(nest_idle_seconds()) << text;
  }
  const ScopedVariable none("SPORE_NEST_IDLE", nullptr);
  EXPECT_EQ(nest_idle_seconds(), 600U);
}

TEST(SporeProgram, IsTheOneGiven) {
  const TemporaryDirectory directory;
  const std::string program = directory / "spore";
  std::ofstream(program) << "#!/bin/sh\n";
  chmod(program.c_str(), 0755);
  const ScopedVariable given("SPORE_BIN", program.c_str());
  EXPECT_EQ(spore_program(), program);
}

TEST(SporeProgram, ThatIsMissingIsNamed) {
  const ScopedVariable given("SPORE_BIN", "/nonexistent/spore");
  const auto program = spore_program();
  ASSERT_FALSE(program);
  EXPECT_EQ(program.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(program.error().message(), HasSubstr("/nonexistent/spore"));
}

}  // namespace
}  // namespace spore::nest
