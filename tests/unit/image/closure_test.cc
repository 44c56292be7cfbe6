#include "image/closure.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstring>
#include <string>

#include "image/elf.h"
#include "unit/image/samples.h"
#include "unit/image/temporary.h"

namespace spore::image {
namespace {

using test::TemporaryDirectory;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// Made by this test's own build: a program that needs libmiddle.so (found by RUNPATH), which needs
// libbottom.so (found by its own).
const std::string kElfDirectory = SPORE_TEST_ELF_DIRECTORY;
const std::string kProgram = kElfDirectory + "/bin/program";

std::string executable(const TemporaryDirectory& directory, const char* name,
                       std::string_view content) {
  std::string path = directory.write(name, content);
  EXPECT_EQ(::chmod(path.c_str(), 0755), 0);
  return path;
}

std::string error_of(const std::string& path) {
  Closure closure;
  const auto added = closure.add_program(path);
  EXPECT_FALSE(added);
  return added ? "" : added.error().message();
}

TEST(ElfTest, ReadsWhatTheLinkerWrote) {
  const std::string bytes = test::read_all(kProgram);
  auto info = parse_elf(memory_reader(bytes));
  ASSERT_TRUE(info) << info.error().message();
  EXPECT_EQ(info->machine, host_machine());
  EXPECT_THAT(info->interpreter, HasSubstr("ld-linux"));
  EXPECT_THAT(info->needed, Contains("libmiddle.so"));
  EXPECT_THAT(info->runpath, ElementsAre("$ORIGIN/../lib"));
}

TEST(ElfTest, SurvivesEveryByteOfItsHeadersFlippedAndEveryTruncation) {
  const std::string whole = test::read_all(kProgram);
  ASSERT_GT(whole.size(), 4096u);
  for (std::size_t at = 0; at < 1024; ++at) {
    for (const char mask : {'\x01', '\x80', '\xff'}) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ mask);
      static_cast<void>(parse_elf(memory_reader(bytes)));
    }
    EXPECT_FALSE(at < sizeof(Elf64_Ehdr) &&
                 parse_elf(memory_reader(std::string_view(whole).substr(0, at))));
  }
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    static_cast<void>(parse_elf(memory_reader(std::string_view(whole).substr(0, size))));
  }
}

TEST(ElfTest, ReadsEveryField) {
  const std::string bytes = test::make_dynamic_elf();
  auto info = parse_elf(memory_reader(bytes));
  ASSERT_TRUE(info) << info.error().message();
  EXPECT_EQ(info->interpreter, "/lib/ld.so");
  EXPECT_THAT(info->needed, ElementsAre("liba.so", "libb.so"));
  EXPECT_THAT(info->runpath, ElementsAre("$ORIGIN/lib", "/opt"));
}

TEST(ElfTest, SurvivesTheDynamicSectionFlipped) {
  const std::string whole = test::read_all(kProgram);
  Elf64_Ehdr header;
  std::memcpy(&header, whole.data(), sizeof header);
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment,
                whole.data() + header.e_phoff + static_cast<std::size_t>(i) * sizeof segment,
                sizeof segment);
    if (segment.p_type != PT_DYNAMIC) {
      continue;
    }
    for (std::size_t at = segment.p_offset; at < segment.p_offset + segment.p_filesz; ++at) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ '\xff');
      static_cast<void>(parse_elf(memory_reader(bytes)));
    }
    return;
  }
  FAIL() << "the program has no dynamic section";
}

TEST(ClosureTest, FindsLibrariesThroughEachOnesOwnRunpath) {
  Closure closure;
  auto added = closure.add_program(kProgram);
  ASSERT_TRUE(added) << added.error().message();
  EXPECT_THAT(closure.files(), Contains(kProgram));
  EXPECT_THAT(closure.files(), Contains(HasSubstr("/lib/libmiddle.so")));
  EXPECT_THAT(closure.files(), Contains(HasSubstr("/lib/deep/libbottom.so")));
  EXPECT_THAT(closure.files(), Contains(HasSubstr("libc.so")));
  EXPECT_THAT(closure.files(), Contains(HasSubstr("ld-linux")));
}

TEST(ClosureTest, NamesTheProgramAndTheLibraryThatIsMissing) {
  TemporaryDirectory directory;
  const std::string copy = executable(directory, "bin/program", test::read_all(kProgram));
  const std::string message = error_of(copy);
  EXPECT_THAT(message, HasSubstr(copy));
  EXPECT_THAT(message, HasSubstr("libmiddle.so"));
  Closure lenient;
  lenient.add_library(copy);
  EXPECT_THAT(lenient.files(), Contains(HasSubstr("libc.so")));
}

TEST(ClosureTest, AScriptBringsItsInterpreter) {
  TemporaryDirectory directory;
  Closure closure;
  ASSERT_TRUE(closure.add_program(executable(directory, "plain", "#!/bin/sh -e\ntrue\n")));
  EXPECT_THAT(closure.files(), Contains("/bin/sh"));
  EXPECT_THAT(closure.files(), Not(Contains(HasSubstr("/env"))));
  ASSERT_TRUE(
      closure.add_program(executable(directory, "by-env", "#! /usr/bin/env -S A=b sort -r\n")));
  EXPECT_THAT(closure.files(), Contains("/usr/bin/env"));
  EXPECT_THAT(closure.files(), Contains(HasSubstr("/sort")));
}

TEST(ClosureTest, SaysWhyAProgramIsUnusable) {
  TemporaryDirectory directory;
  std::string foreign = test::read_all(kProgram);
  foreign[offsetof(Elf64_Ehdr, e_machine)] = static_cast<char>(EM_AARCH64);
  EXPECT_THAT(error_of(executable(directory, "foreign", foreign)), HasSubstr("aarch64"));
  EXPECT_THAT(error_of(executable(directory, "text", "hello\n")), HasSubstr("neither"));
  EXPECT_THAT(error_of(executable(directory, "empty", "")), HasSubstr("neither"));
  EXPECT_THAT(error_of(executable(directory, "short", test::read_all(kProgram).substr(0, 40))),
              HasSubstr("truncated"));
  EXPECT_THAT(error_of(executable(directory, "lost", "#!/no/such/interpreter\n")),
              HasSubstr("/no/such/interpreter"));
  const std::string self = directory.path("self");
  executable(directory, "self", "#!" + self + "\n");
  EXPECT_THAT(error_of(self), HasSubstr("#!"));
  EXPECT_THAT(error_of(directory.path("missing")), HasSubstr("missing"));
}

TEST(ClosureTest, FindsProgramsByNameAndByPath) {
  TemporaryDirectory directory;
  const std::string path = executable(directory, "found-by-name", "#!/bin/sh\n");
  const std::string before = ::getenv("PATH");
  ::setenv("PATH", (before + ":" + directory.path()).c_str(), 1);
  EXPECT_EQ(find_program("found-by-name").value_or(""), path);
  ::setenv("PATH", before.c_str(), 1);
  EXPECT_FALSE(find_program("found-by-name"));
  EXPECT_EQ(find_program(path).value_or(""), path);
  EXPECT_FALSE(find_program(directory.path()));
  EXPECT_FALSE(find_program(directory.write("not-executable", "x")));
}

}  // namespace
}  // namespace spore::image
