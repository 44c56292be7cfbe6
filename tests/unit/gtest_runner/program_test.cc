#include "gtest_runner/program.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

namespace spore::gtest_runner {
namespace {

using ::testing::HasSubstr;

class ProgramTest : public ::testing::Test {
 protected:
  void write(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary) << bytes;
    chmod(path_.c_str(), 0755);
  }
  ~ProgramTest() override { std::remove(path_.c_str()); }
  std::string message() { return inspect_program(path_).error().message(); }
  // ctest runs the tests of this program beside each other.
  const std::string path_ =
      ::testing::TempDir() + "spore_program_test-" + std::to_string(::getpid());
};

std::string own_program() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_F(ProgramTest, RefusesWhatIsNoProgramOfThisMachine) {
  EXPECT_THAT(inspect_program(path_ + "-not").error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(inspect_program("/tmp").error().message(), HasSubstr("not a file"));
  write("#!/bin/sh\n");
  EXPECT_THAT(message(), HasSubstr("not an ELF program"));
  std::string bytes = own_program().substr(0, 64);
  bytes[18] = '\x28';  // e_machine: EM_ARM
  bytes[19] = '\0';
  write(bytes);
  EXPECT_THAT(message(), HasSubstr("is built for arm"));
  bytes = own_program().substr(0, 64);
  bytes[16] = 1;  // e_type: ET_REL
  write(bytes);
  EXPECT_THAT(message(), HasSubstr("not a program"));
  write(own_program());
  chmod(path_.c_str(), 0644);
  EXPECT_THAT(message(), HasSubstr("chmod +x"));
}

TEST_F(ProgramTest, FindsTheMarkerWhereverItLies) {
  // Built at run time: this very program is read below, and must not hold the marker itself.
  std::string marker = "spore_gtest_main/";
  marker += "1";
  const std::string header = own_program().substr(0, 64);
  write(header);
  EXPECT_FALSE(inspect_program(path_)->has_fixture_point);
  constexpr std::size_t kBlock = std::size_t{1} << 20;
  for (const std::size_t at : {std::size_t{100}, kBlock - 5, kBlock, 2 * kBlock - 1}) {
    std::string bytes = header;
    bytes.resize(at, 'x');
    write(bytes + marker + "tail");
    EXPECT_TRUE(inspect_program(path_)->has_fixture_point) << at;
  }
}

TEST_F(ProgramTest, GivesAnAbsolutePath) {
  EXPECT_EQ(inspect_program("/proc/self/../self/exe").value().path.front(), '/');
}

}  // namespace
}  // namespace spore::gtest_runner
