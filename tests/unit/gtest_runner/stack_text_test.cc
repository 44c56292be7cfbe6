#include "gtest_runner/failures/stack_text.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace spore::gtest_runner {

// A place to be found by its name.
__attribute__((noinline)) void a_place_with_a_name() {
  asm volatile("");
}

namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

StackFrame frame_here() {
  Dl_info info{};
  dladdr(reinterpret_cast<void*>(&a_place_with_a_name), &info);
  return {.module = std::filesystem::canonical("/proc/self/exe"),
          .offset = reinterpret_cast<std::uintptr_t>(&a_place_with_a_name) -
                    reinterpret_cast<std::uintptr_t>(info.dli_fbase)};
}

TEST(TakeStack, FindsFramesAmongOtherText) {
  std::string text =
      "before\nspore-stack: /a b/c+d+0x1f\nspore-stack: relative+0x1\nspore-stack: /a+0xzz\n"
      "spore-stack: /a\nspore-stack: /a+0x11112222333344445\nspore-stack: /d+0x0\nafter";
  const auto frames = take_stack(text);
  ASSERT_THAT(frames, SizeIs(2));
  EXPECT_EQ(frames[0].module, "/a b/c+d");
  EXPECT_EQ(frames[0].offset, 0x1fU);
  EXPECT_EQ(frames[1].module, "/d");
  EXPECT_EQ(text,
            "before\nspore-stack: relative+0x1\nspore-stack: /a+0xzz\nspore-stack: /a\n"
            "spore-stack: /a+0x11112222333344445\nafter");
  std::string many;
  for (int i = 0; i < 100; ++i) {
    many += "spore-stack: /a+0x1\n";
  }
  EXPECT_THAT(take_stack(many), SizeIs(64));
}

TEST(StackText, NamesPlacesOfThisHostsFiles) {
  const StackFrame here = frame_here();
  EXPECT_THAT(stack_text({here}), HasSubstr("  spore::gtest_runner::a_place_with_a_name()"));
  StackFrame nowhere = here;
  nowhere.offset = 1;
  EXPECT_EQ(stack_text({nowhere, here, nowhere}), stack_text({here}));
}

TEST(StackText, AsksNoDeviceOrTextForNames) {
  // One that has a name for everything.
  std::string directory = ::testing::TempDir() + "/spore_addr2line_XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  const std::string tool = directory + "/addr2line";
  std::ofstream(tool) << "#!/bin/sh\necho everywhere at once.cc:1\n";
  std::filesystem::permissions(tool, std::filesystem::perms::owner_all);
  const std::string path = std::getenv("PATH");
  setenv("PATH", (directory + ":" + path).c_str(), 1);
  EXPECT_THAT(stack_text({{.module = "/proc/self/exe", .offset = 1}}), HasSubstr("everywhere"));
  for (const char* module : {"/dev/zero", "/proc/self/maps", "/none", "/etc/passwd", "/"}) {
    EXPECT_THAT(stack_text({{.module = module, .offset = 1}}), IsEmpty()) << module;
  }
  setenv("PATH", path.c_str(), 1);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace spore::gtest_runner
