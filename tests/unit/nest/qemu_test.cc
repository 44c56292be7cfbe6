#include "nest/qemu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "support/temporary_directory.h"

namespace spore::nest {
namespace {

using testing::ScopedVariable;
using testing::TemporaryDirectory;

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

// The words after `option`, each time it is given.
std::vector<std::string> values_of(const std::vector<std::string>& argv,
                                   const std::string& option) {
  std::vector<std::string> values;
  for (std::size_t i = 0; i + 1 < argv.size(); ++i) {
    if (argv[i] == option) {
      values.push_back(argv[i + 1]);
    }
  }
  return values;
}

NestMachine some_machine() {
  NestMachine machine;
  machine.kernel = "/k";
  machine.initramfs = "/i";
  machine.console_log = "/c";
  machine.memory_bytes = 3ULL << 30;
  machine.idle_seconds = 77;
  machine.port_sockets = {"/run/0", "/run/1"};
  return machine;
}

TEST(QemuVersion, IsReadFromWhatDistributionsPrint) {
  const auto debian = parse_qemu_version(
      "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright (c) ...\n");
  ASSERT_TRUE(debian);
  EXPECT_EQ(debian->text(), "10.0.2");
  const auto old = parse_qemu_version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n");
  ASSERT_TRUE(old);
  EXPECT_EQ(old->major, 7);
  EXPECT_EQ(parse_qemu_version("QEMU emulator version 9.1\n")->text(), "9.1.0");
}

TEST(QemuVersion, OfSomethingElseIsAnError) {
  for (const char* output : {"", "bash: nothing\n", "QEMU emulator version x.y\n",
                             "QEMU emulator version 99999999999999.1\n"}) {
    const auto version = parse_qemu_version(output);
    ASSERT_FALSE(version) << output;
    EXPECT_EQ(version.error().code(), ErrorCode::kUnavailable);
  }
}

TEST(FindQemu, NamesThePackageWhenThereIsNone) {
  const TemporaryDirectory empty;
  const ScopedVariable path("PATH", empty.path().c_str());
  const ScopedVariable given("SPORE_QEMU", nullptr);
  const auto qemu = find_qemu();
  ASSERT_FALSE(qemu);
  EXPECT_EQ(qemu.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(qemu.error().message(), HasSubstr("qemu-system-x86"));
}

TEST(FindQemu, TakesTheFirstInPath) {
  const TemporaryDirectory directory;
  const std::string program = directory / "qemu-system-x86_64";
  std::ofstream(program) << "#!/bin/sh\necho 'QEMU emulator version 8.1.3 (test)'\n";
  chmod(program.c_str(), 0755);
  const ScopedVariable given("SPORE_QEMU", nullptr);
  const ScopedVariable path("PATH", ("/nonexistent::" + directory.path()).c_str());
  const auto qemu = find_qemu();
  ASSERT_TRUE(qemu) << qemu.error().message();
  EXPECT_EQ(qemu->path, program);
  EXPECT_EQ(qemu->version.text(), "8.1.3");
}

TEST(FindQemu, NamesAProgramThatIsNoQemu) {
  const ScopedVariable given("SPORE_QEMU", "/bin/true");
  const auto qemu = find_qemu();
  ASSERT_FALSE(qemu);
  EXPECT_THAT(qemu.error().message(), HasSubstr("/bin/true"));
}

TEST(QemuCommand, UsesSeveralThreadsOnlyWhereTheyWork) {
  const auto accelerator = [](int major) {
    return values_of(qemu_command({.path = "q", .version = {.major = major}}, some_machine()),
                     "-accel");
  };
  EXPECT_THAT(accelerator(10), Contains("tcg,thread=multi"));
  EXPECT_THAT(accelerator(11), Contains("tcg,thread=multi"));
  EXPECT_THAT(accelerator(9), Contains("tcg,thread=single"));
  EXPECT_THAT(accelerator(7), Contains("tcg,thread=single"));
}

TEST(QemuCommand, DescribesTheNest) {
  const auto argv = qemu_command({.path = "/q", .version = {.major = 10}}, some_machine());
  EXPECT_EQ(argv.front(), "/q");
  EXPECT_THAT(values_of(argv, "-kernel"), Contains("/k"));
  EXPECT_THAT(values_of(argv, "-initrd"), Contains("/i"));
  EXPECT_THAT(values_of(argv, "-m"), Contains("3072M"));
  EXPECT_THAT(values_of(argv, "-smp"), Contains("3"));  // two that run machines, and CPU 0
  EXPECT_THAT(values_of(argv, "-append"), Contains(HasSubstr("spore.idle=77 spore.ports=2")));
  EXPECT_THAT(values_of(argv, "-chardev"),
              Contains("socket,id=port1,path=/run/1,server=on,wait=off"));
  EXPECT_THAT(values_of(argv, "-device"), Contains("virtserialport,chardev=port1,name=spore.1"));
  EXPECT_THAT(argv, Contains("-nodefaults")) << "no network";
}

TEST(QemuCommand, QuotesCommasInPaths) {
  auto machine = some_machine();
  machine.port_sockets = {"/a,b/0"};
  const auto argv = qemu_command({.path = "/q", .version = {.major = 10}}, machine);
  EXPECT_THAT(values_of(argv, "-chardev"), Contains(HasSubstr("path=/a,,b/0,")));
}

}  // namespace
}  // namespace spore::nest
