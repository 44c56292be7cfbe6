#include "image/kernel.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "unit/image/samples.h"
#include "unit/image/temporary.h"

namespace spore::image {
namespace {

using test::TemporaryDirectory;
using testing::HasSubstr;

using test::make_bzimage;
using test::make_elf;

class KernelTest : public testing::Test {
 protected:
  Result<Kernel> find(const std::string& path) {
    auto cache = Cache::open_at(directory_.path("cache"));
    return find_kernel(path, *cache, directory_.path("boot"));
  }
  std::string error_for(std::string_view content) {
    auto kernel = find(directory_.write("bad", content));
    EXPECT_FALSE(kernel);
    return kernel ? "" : kernel.error().message();
  }
  TemporaryDirectory directory_;
};

TEST_F(KernelTest, UnpacksABzImageOnce) {
  const std::string path = directory_.write("k", make_bzimage(make_elf()));
  auto kernel = find(path);
  ASSERT_TRUE(kernel) << kernel.error().message();
  EXPECT_EQ(kernel->path, path);
  EXPECT_EQ(kernel->release, "6.1.0-7-test");
  EXPECT_EQ(test::read_all(kernel->elf_path), make_elf());
  directory_.write("cache/" + std::filesystem::path(kernel->elf_path).filename().string(), "mark");
  auto again = find(path);
  ASSERT_TRUE(again);
  EXPECT_EQ(test::read_all(again->elf_path), "mark");
}

TEST_F(KernelTest, TakesAnElfKernelAsItIs) {
  const std::string path = directory_.write("vmlinux", make_elf());
  auto kernel = find(path);
  ASSERT_TRUE(kernel) << kernel.error().message();
  EXPECT_EQ(kernel->elf_path, path);
  EXPECT_EQ(kernel->release, "6.1.0-9-test");
}

TEST_F(KernelTest, ChoosesTheNewestByVersionNotByLetters) {
  for (const char* name :
       {"vmlinuz-6.1.0-9-test", "vmlinuz-6.1.0-10-test", "vmlinuz-5.10.0-99-test",
        "vmlinuz-6.1.0-11-test.old", "config-7.0.0-1-test"}) {
    directory_.write(std::string("boot/") + name, make_elf());
  }
  auto kernel = find("");
  ASSERT_TRUE(kernel) << kernel.error().message();
  EXPECT_EQ(kernel->path, directory_.path("boot/vmlinuz-6.1.0-10-test"));
}

TEST_F(KernelTest, SaysWhatToInstall) {
  auto kernel = find("");
  ASSERT_FALSE(kernel);
  EXPECT_EQ(kernel.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(kernel.error().message(), HasSubstr("linux-image-amd64"));
  EXPECT_THAT(kernel.error().message(), HasSubstr("--kernel"));
}

TEST_F(KernelTest, SaysWhatIsWrongWithAFile) {
  EXPECT_THAT(error_for(""), HasSubstr("not a kernel"));
  EXPECT_THAT(error_for("#!/bin/sh\n"), HasSubstr("not a kernel"));
  EXPECT_THAT(error_for(make_elf(EM_AARCH64)), HasSubstr("aarch64"));
  EXPECT_THAT(error_for(make_elf().substr(0, 2000)), HasSubstr("truncated"));
  const std::string whole = make_bzimage(make_elf());
  EXPECT_THAT(error_for(whole.substr(0, whole.size() - 1)), HasSubstr("truncated"));
  EXPECT_THAT(error_for(whole.substr(0, 0x240)), HasSubstr("truncated"));
  EXPECT_THAT(error_for(make_bzimage(make_elf(EM_AARCH64))), HasSubstr("aarch64"));
  EXPECT_THAT(error_for(make_bzimage(std::string(4096, 'x'))), HasSubstr("no ELF kernel"));
  std::string narrow = whole;
  narrow[0x236] = 0;
  EXPECT_THAT(error_for(narrow), HasSubstr("32-bit"));
  std::string no_linux = make_elf();
  no_linux[1024] = 'X';
  EXPECT_THAT(error_for(no_linux), HasSubstr("no Linux kernel"));
  auto missing = find(directory_.path("missing"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(find(directory_.path()));
  EXPECT_EQ(test::count_entries(directory_.path("cache")), 1u);  // the lock
}

// Whatever a byte says, the answer is a value or an Error, and never an offset outside the file.
TEST_F(KernelTest, SurvivesEveryByteOfAHeaderFlippedAndEveryTruncation) {
  for (const std::string& whole : {make_bzimage(make_elf()), make_elf()}) {
    const auto try_one = [](const std::string& bytes) {
      const auto header = parse_kernel_header(bytes, bytes.size());
      if (header) {
        EXPECT_LE(header->payload_offset + header->payload_length, bytes.size());
      }
    };
    for (std::size_t at = 0; at < 0x300; ++at) {
      for (const char mask : {'\x01', '\x80', '\xff'}) {
        std::string bytes = whole;
        bytes[at] = static_cast<char>(bytes[at] ^ mask);
        try_one(bytes);
      }
      try_one(whole.substr(0, at));
    }
  }
}

TEST_F(KernelTest, UnpacksTheDistributionsKernel) {
  auto cache = Cache::open_at(directory_.path("cache"));
  auto kernel = find_kernel("", *cache, "/boot");
  if (!kernel && kernel.error().code() == ErrorCode::kNotFound) {
    GTEST_SKIP() << kernel.error().message();
  }
  ASSERT_TRUE(kernel) << kernel.error().message();
  EXPECT_EQ(kernel->path, "/boot/vmlinuz-" + kernel->release);
  auto as_elf = find_kernel(kernel->elf_path, *cache, "/boot");
  ASSERT_TRUE(as_elf) << as_elf.error().message();
  EXPECT_EQ(as_elf->release, kernel->release);
}

}  // namespace
}  // namespace spore::image
