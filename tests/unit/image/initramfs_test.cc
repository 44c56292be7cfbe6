#include "image/initramfs.h"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "unit/image/temporary.h"

namespace spore::image {
namespace {

using test::TemporaryDirectory;
using testing::ElementsAre;
using testing::HasSubstr;

struct CpioEntry {
  unsigned type = 0;
  unsigned mode = 0;
  std::string content;
  unsigned major = 0;
  unsigned minor = 0;
  long mtime = -1;
};

std::map<std::string, CpioEntry> read_cpio(const std::string& path) {
  std::map<std::string, CpioEntry> entries;
  const std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
  archive_read_support_format_cpio(reader.get());
  EXPECT_EQ(archive_read_open_filename(reader.get(), path.c_str(), 65536), ARCHIVE_OK);
  archive_entry* entry = nullptr;
  while (archive_read_next_header(reader.get(), &entry) == ARCHIVE_OK) {
    CpioEntry found;
    found.type = archive_entry_filetype(entry);
    found.mode = archive_entry_perm(entry);
    found.major = static_cast<unsigned>(archive_entry_rdevmajor(entry));
    found.minor = static_cast<unsigned>(archive_entry_rdevminor(entry));
    found.mtime = archive_entry_mtime(entry);
    found.content.resize(static_cast<std::size_t>(archive_entry_size(entry)));
    EXPECT_EQ(archive_read_data(reader.get(), found.content.data(), found.content.size()),
              static_cast<la_ssize_t>(found.content.size()));
    entries[archive_entry_pathname(entry)] = found;
  }
  return entries;
}

class InitramfsTest : public testing::Test {
 protected:
  InitramfsTest() {
    directory_.write("modules/1.2/modules.dep",
                     "kernel/a-b.ko: kernel/c.ko kernel/d.ko\n"
                     "kernel/c.ko: kernel/d.ko\n"
                     "kernel/d.ko:\n"
                     "kernel/loop1.ko: kernel/loop2.ko\n"
                     "kernel/loop2.ko: kernel/loop1.ko\n"
                     "kernel/broken.ko: kernel/gone.ko\n");
    directory_.write("modules/1.2/modules.builtin", "kernel/inside.ko\n");
    for (const char* name : {"a-b", "c", "d"}) {
      directory_.write(std::string("modules/1.2/kernel/") + name + ".ko",
                       std::string("module ") + name);
    }
    spec_.init_path = directory_.write("init", "the program");
    spec_.kernel_release = "1.2";
    spec_.modules_root = directory_.path("modules");
  }
  Result<std::string> build(std::string_view cache_name = "cache") {
    auto cache = Cache::open_at(directory_.path(cache_name));
    return build_initramfs(spec_, *cache);
  }
  TemporaryDirectory directory_;
  InitramfsSpec spec_;
};

TEST_F(InitramfsTest, HoldsInitModulesInLoadOrderAndTheConsole) {
  spec_.modules = {"a_b", "inside"};
  spec_.optional_modules = {"d", "absent"};
  spec_.files = {{directory_.write("extra", "more"), "/etc/deep/extra", 0600}};
  auto path = build();
  ASSERT_TRUE(path) << path.error().message();
  const auto entries = read_cpio(*path);
  EXPECT_EQ(entries.at("init").content, "the program");
  EXPECT_EQ(entries.at("init").mode, 0755u);
  EXPECT_EQ(entries.at("init").mtime, 0);
  EXPECT_EQ(entries.at("modules/000-d.ko").content, "module d");
  EXPECT_EQ(entries.at("modules/001-c.ko").content, "module c");
  EXPECT_EQ(entries.at("modules/002-a_b.ko").content, "module a-b");
  EXPECT_FALSE(entries.contains("modules/003-inside.ko"));
  EXPECT_EQ(entries.at("etc/deep/extra").content, "more");
  EXPECT_EQ(entries.at("etc/deep/extra").mode, 0600u);
  EXPECT_EQ(entries.at("etc/deep").type, unsigned{AE_IFDIR});
  for (const char* name : {"dev", "proc", "sys", "run", "newroot"}) {
    EXPECT_EQ(entries.at(name).type, unsigned{AE_IFDIR}) << name;
  }
  EXPECT_EQ(entries.at("dev/console").type, unsigned{AE_IFCHR});
  EXPECT_EQ(entries.at("dev/console").major, 5u);
  EXPECT_EQ(entries.at("dev/console").minor, 1u);
}

TEST_F(InitramfsTest, SameInputSameBytesAndFoundAgain) {
  spec_.modules = {"a-b"};
  auto first = build("cache1");
  auto other = build("cache2");
  ASSERT_TRUE(first && other);
  EXPECT_EQ(test::read_all(*first), test::read_all(*other));
  std::filesystem::remove_all(directory_.path("modules/1.2/kernel"));
  EXPECT_EQ(build("cache1").value_or(""), *first);
  directory_.write("init", "another program");
  EXPECT_FALSE(build("cache1"));
}

TEST_F(InitramfsTest, NamesTheModuleThatIsMissing) {
  spec_.modules = {"d", "nonesuch"};
  auto path = build();
  ASSERT_FALSE(path);
  EXPECT_EQ(path.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(path.error().message(), HasSubstr("nonesuch"));
  spec_.modules = {"broken"};
  EXPECT_FALSE(build());
  spec_.modules_root = directory_.path("nowhere");
  path = build();
  ASSERT_FALSE(path);
  EXPECT_THAT(path.error().message(), HasSubstr("modules.dep"));
}

TEST_F(InitramfsTest, ACircleInTheIndexEnds) {
  auto files = resolve_modules(directory_.path("modules/1.2"), {"loop1"}, {});
  ASSERT_TRUE(files);
  EXPECT_THAT(*files, ElementsAre("kernel/loop2.ko", "kernel/loop1.ko"));
}

TEST_F(InitramfsTest, RefusesAReleaseThatLeavesTheFolder) {
  spec_.kernel_release = "../../etc";
  EXPECT_FALSE(build());
}

TEST_F(InitramfsTest, FindsTheModulesOfTheDistributionsKernel) {
  std::string release;
  for (const auto& entry : std::filesystem::directory_iterator("/lib/modules")) {
    if (std::filesystem::exists(entry.path() / "modules.dep")) {
      release = entry.path().filename().string();
    }
  }
  if (release.empty()) {
    GTEST_SKIP() << "no kernel modules are installed";
  }
  spec_.kernel_release = release;
  spec_.modules_root = "/lib/modules";
  spec_.modules = kGuestModules;
  spec_.modules.insert(spec_.modules.end(), kNestModules.begin(), kNestModules.end());
  spec_.optional_modules = kNestOptionalModules;
  auto path = build();
  ASSERT_TRUE(path) << path.error().message();
  for (const auto& [name, entry] : read_cpio(*path)) {
    if (name.starts_with("modules/")) {
      EXPECT_TRUE(
          entry.content.starts_with("\x7f"
                                    "ELF"))
          << name;
    }
  }
}

}  // namespace
}  // namespace spore::image
