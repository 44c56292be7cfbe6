#include "snapshot/writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include "base/files.h"
#include "snapshot/proof.h"
#include "unit/snapshot/sample.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;
using test::count_entries;
using test::Page;
using test::read_all;
using test::sample_ram;
using test::SampleRam;
using test::SporeToWrite;
using test::write_spore;
using ::testing::AllOf;
using ::testing::HasSubstr;

class WriterTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const { return directory_.path(name); }
  static std::map<std::uint32_t, Page> pages_in(const std::string& spore) {
    std::map<std::uint32_t, Page> pages;
    const auto read = test::read_own_pages(*SporeDirectory::open(spore).value(), pages);
    EXPECT_TRUE(read) << read.error().message();
    return pages;
  }
  void expect_nothing_left() { EXPECT_EQ(count_entries(directory_.path()), 0U); }

  test::TemporaryDirectory directory_;
};

TEST_F(WriterTest, WhatIsWrittenIsReadBackPageByPage) {
  const auto id = write_spore(path("a"), {});
  ASSERT_TRUE(id) << id.error().message();
  EXPECT_TRUE(pages_in(path("a")) == sample_ram().pages);
  const auto spore = SporeDirectory::open(path("a")).value();
  EXPECT_EQ(spore->id(), *id);
  EXPECT_EQ(spore->section("vm").value(), "{\"vm\":true}");
  EXPECT_EQ(spore->section("agent").value(), "{\"agent\":true}");
  EXPECT_EQ(spore->manifest().annotations, test::sample_manifest().annotations);
  EXPECT_EQ(count_entries(directory_.path()), 1U);
  EXPECT_FALSE(fs::exists(path("a/parent")));
}

TEST_F(WriterTest, TheSameInputsAreTheSameSpore) {
  const auto first = write_spore(path("a"), {});
  const auto second = write_spore(path("b"), {});
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*first, *second);
  EXPECT_EQ(read_all(path("a/manifest.json")), read_all(path("b/manifest.json")));
}

TEST_F(WriterTest, PagesOfZerosCostNothingUnlessALayerHasToSaySo) {
  SporeToWrite what;
  what.ram.pages[2] = Page(kPageBytes);
  what.ram.pages[9000] = Page(kPageBytes);  // alone in its chunk
  Page almost(kPageBytes);
  almost.back() = std::byte{1};
  what.ram.pages[3] = almost;
  ASSERT_TRUE(write_spore(path("whole"), what));
  SampleRam expected = sample_ram();
  expected.pages[3] = almost;
  EXPECT_TRUE(pages_in(path("whole")) == expected.pages);

  what.base = std::string(64, 'b');
  ASSERT_TRUE(write_spore(path("layer"), what));
  EXPECT_TRUE(pages_in(path("layer")) == what.ram.pages);
  EXPECT_EQ(SporeDirectory::open(path("layer")).value()->ram_section()->base, what.base);

  what.base.clear();
  what.ram.pages.clear();
  ASSERT_TRUE(write_spore(path("empty"), what));
  EXPECT_TRUE(pages_in(path("empty")).empty());
  EXPECT_EQ(count_entries(path("empty/chunks")), 0U);
}

TEST_F(WriterTest, EqualChunksAreWrittenOnce) {
  auto writer = SporeWriter::create(path("a"));
  ASSERT_TRUE(writer);
  SampleRam ram;
  for (std::uint32_t chunk = 0; chunk < 8; ++chunk) {
    ram.pages[chunk * 512 + chunk] = test::page_of(1);  // at another place in each
  }
  ram.pages[8 * 512] = test::page_of(2);
  const auto written = writer->write_ram(ram.to_write());
  ASSERT_TRUE(written) << written.error().message();
  EXPECT_EQ(written->section.chunks.size(), 9U);
  EXPECT_EQ(count_entries(writer->staging() + "/chunks"), 2U);
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(writer->staging() + "/chunks")) {
    bytes += entry.file_size();
  }
  EXPECT_EQ(written->file_bytes, bytes);
}

TEST_F(WriterTest, AnExistingPathIsRefusedWhateverItIs) {
  fs::create_directory(path("directory"));
  directory_.write("file", "x");
  fs::create_symlink("nowhere", path("link"));
  ASSERT_TRUE(write_spore(path("spore"), {}));
  const std::string before = read_all(path("spore/manifest.json"));
  for (const auto* name : {"directory", "directory/", "file", "link", "spore", "x/../spore", "."}) {
    const auto writer = SporeWriter::create(path(name));
    ASSERT_FALSE(writer) << name;
    EXPECT_EQ(writer.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(writer.error().message(), AllOf(HasSubstr(name), HasSubstr("there already")));
  }
  EXPECT_EQ(count_entries(directory_.path()), 4U);
  EXPECT_EQ(read_all(path("spore/manifest.json")), before);
}

TEST_F(WriterTest, PathsThatCannotBeAreRefusedAtOnce) {
  for (const std::string& bad : {std::string(), std::string("a\0b", 3), path("none/a"),
                                 path(std::string(250, 'x')), std::string("/proc/a")}) {
    const auto writer = SporeWriter::create(bad);
    EXPECT_FALSE(writer) << bad;
  }
  EXPECT_THAT(SporeWriter::create(path("none/a")).error().message(), HasSubstr(path("none/a")));
  expect_nothing_left();
}

TEST_F(WriterTest, OneThatGivesUpLeavesNothing) {
  {
    auto writer = SporeWriter::create(path("a"));
    ASSERT_TRUE(writer);
    EXPECT_EQ(count_entries(directory_.path()), 1U);
    ASSERT_TRUE(writer->write_ram(sample_ram().to_write()));
    SporeWriter other = std::move(*writer);
    EXPECT_TRUE(other.write_section("{}"));
  }
  expect_nothing_left();
}

TEST_F(WriterTest, WhatCouldNotBeReadIsNotPublished) {
  const auto expect_refused = [&](const std::function<void(Manifest&)>& change, const char* why) {
    SporeToWrite what;
    change(what.manifest);
    const auto id = write_spore(path("a"), what);
    ASSERT_FALSE(id);
    EXPECT_THAT(id.error().message(), HasSubstr(why));
    expect_nothing_left();
  };
  expect_refused([](Manifest& m) { m.platform.kernel_sha256 = "x"; }, "the kernel");
  expect_refused([](Manifest& m) { m.annotations["x"] = std::string(kMaxManifestBytes, 'x'); },
                 "annotate less");
  expect_refused([](Manifest& m) { m.annotations["x"] = "\xff"; }, "not UTF-8");
  expect_refused([](Manifest& m) { m.annotations["\xc3"] = "x"; }, "not UTF-8");
  expect_refused([](Manifest& m) { m.images = {{std::string(64, 'a'), 1, "/\xfe"}}; }, "not UTF-8");
  expect_refused([](Manifest& m) { m.generation.parameters.name = "\x80"; }, "not UTF-8");
}

TEST_F(WriterTest, ASectionThatCouldNotBeReadIsRefused) {
  auto writer = SporeWriter::create(path("a"));
  ASSERT_TRUE(writer);
  const auto section = writer->write_section(std::string(kMaxSectionBytes + 1, 'x'));
  ASSERT_FALSE(section);
  EXPECT_EQ(section.error().code(), ErrorCode::kResourceExhausted);
}

TEST_F(WriterTest, TheFlatBackingIsRamWithHolesOrTheLayersPages) {
  const std::string key(kProofKeyBytes, 'k');
  for (const bool whole : {true, false}) {
    const std::string name = whole ? "whole" : "layer";
    auto writer = SporeWriter::create(path(name));
    ASSERT_TRUE(writer);
    const SampleRam sample = sample_ram();
    const auto ram = sample.to_write(whole ? "" : std::string(64, 'b'));
    const auto written = writer->write_ram(ram);
    ASSERT_TRUE(written);
    const auto flat = writer->write_flat(ram, *written, key);
    ASSERT_TRUE(flat) << flat.error().message();
    Manifest manifest = test::sample_manifest();
    manifest.sections["ram"] = written->ref;
    ASSERT_TRUE(writer->publish(manifest, ""));

    const std::string image = read_all(path(name) + "/ram.img");
    ASSERT_EQ(image.size(), whole ? sample.size : sample.pages.size() * kPageBytes);
    std::size_t stored = 0;
    for (std::size_t page = 0; page < sample.size / kPageBytes; ++page) {
      if (!whole && !sample.pages.contains(static_cast<std::uint32_t>(page))) {
        continue;
      }
      const std::size_t at = whole ? page : stored++;
      ASSERT_EQ(std::memcmp(image.data() + at * kPageBytes, sample.page(page), kPageBytes), 0)
          << page;
    }
    struct stat status {};
    ASSERT_EQ(::stat((path(name) + "/ram.img").c_str(), &status), 0);
    EXPECT_LT(status.st_blocks * 512, 4 * 1024 * 1024);
    // Publishing it changed nothing that the proof speaks of.
    const auto fd = base::open_to_read(path(name) + "/ram.img");
    const std::string proof = read_all(path(name) + "/ram.proof");
    EXPECT_TRUE(is_proof(proof, key, fd->get(), written->ref.sha256));
    EXPECT_FALSE(is_proof(proof, key, fd->get(), std::string(64, '0')));
  }
}

TEST_F(WriterTest, OfTwoAtOncePathExactlyOneWins) {
  for (int round = 0; round < 10; ++round) {
    std::atomic<int> arrived{0};
    std::array<Result<std::string>, 2> ids{Result<std::string>(""), Result<std::string>("")};
    const auto write = [&](std::size_t i) {
      SporeToWrite what;
      what.manifest.annotations["writer"] = std::to_string(i);
      ids[i] = [&]() -> Result<std::string> {
        SPORE_ASSIGN(auto writer, SporeWriter::create(path("a")));
        // Both have found the path free.
        for (++arrived; arrived < 2;) {
          std::this_thread::yield();
        }
        SPORE_ASSIGN(const auto ram, writer.write_ram(what.ram.to_write()));
        what.manifest.sections["ram"] = ram.ref;
        SPORE_ASSIGN(what.manifest.sections["vm"], writer.write_section("{}"));
        what.manifest.sections["agent"] = what.manifest.sections["vm"];
        return writer.publish(what.manifest, "");
      }();
    };
    std::thread other(write, 1);
    write(0);
    other.join();
    ASSERT_NE(ids[0].has_value(), ids[1].has_value());
    const auto& lost = ids[0] ? ids[1] : ids[0];
    EXPECT_EQ(lost.error().code(), ErrorCode::kInvalidArgument) << lost.error().message();
    EXPECT_THAT(lost.error().message(), HasSubstr("it is there already"));
    EXPECT_EQ(SporeDirectory::open(path("a")).value()->id(), ids[0] ? *ids[0] : *ids[1]);
    EXPECT_TRUE(test::verify(path("a")));
    EXPECT_EQ(count_entries(directory_.path()), 1U);
    fs::remove_all(path("a"));
  }
}

TEST_F(WriterTest, AParentIsNamedWithTheWayToIt) {
  fs::create_directories(path("x/y"));
  const auto a = write_spore(path("a"), {});
  SporeToWrite what;
  what.manifest.parent = a.value();
  what.parent_path = path("a");
  ASSERT_TRUE(write_spore(path("x/y/b"), what));
  EXPECT_EQ(read_all(path("x/y/b/parent")), "../../../a");
  EXPECT_TRUE(SporeDirectory::open(path("x/y/b")));
}

// ---- file systems that refuse

// A small file system of this test's own, which nobody else sees and which goes with the process.
class SmallFileSystem {
 public:
  explicit SmallFileSystem(const std::string& where) : where_(where) {
    fs::create_directory(where);
  }
  ~SmallFileSystem() { ::umount2(where_.c_str(), MNT_DETACH); }
  SmallFileSystem(const SmallFileSystem&) = delete;
  SmallFileSystem& operator=(const SmallFileSystem&) = delete;
  bool mount(const std::string& options) {
    ::umount2(where_.c_str(), MNT_DETACH);
    return ::mount("spore-test", where_.c_str(), "tmpfs", 0, options.c_str()) == 0;
  }
  bool make_read_only() {
    return ::mount(nullptr, where_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }
  // Whether this process may have one; then its mounts are its own from now on.
  static bool possible() {
    return ::unshare(CLONE_NEWNS) == 0 &&
           ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  }

 private:
  const std::string where_;
};

TEST_F(WriterTest, AFullFileSystemIsToldAndNothingIsLeft) {
  if (!SmallFileSystem::possible()) {
    GTEST_SKIP() << "this process may not mount a small file system";
  }
  SmallFileSystem small(path("small"));
  // Of bytes, and of files: so that each step is the one that fails.
  std::vector<std::string> sizes;
  for (int pages = 1; pages <= 12; ++pages) {
    sizes.push_back("size=" + std::to_string(pages * 4) + "k");
  }
  for (int files = 2; files <= 18; ++files) {
    sizes.push_back("nr_inodes=" + std::to_string(files));
  }
  int failed = 0;
  for (const std::string& size : sizes) {
    SCOPED_TRACE(size);
    ASSERT_TRUE(small.mount(size));
    const auto id = write_spore(path("small/a"), {});
    if (id) {
      EXPECT_TRUE(test::verify(path("small/a")));
      continue;
    }
    ++failed;
    EXPECT_EQ(id.error().code(), ErrorCode::kResourceExhausted) << id.error().message();
    EXPECT_THAT(id.error().message(), AllOf(HasSubstr(path("small")), HasSubstr("No space left")));
    EXPECT_EQ(count_entries(path("small")), 0U);
  }
  EXPECT_GT(failed, 15);
}

TEST_F(WriterTest, AReadOnlyFileSystemIsTold) {
  if (!SmallFileSystem::possible()) {
    GTEST_SKIP() << "this process may not mount a small file system";
  }
  SmallFileSystem small(path("small"));
  ASSERT_TRUE(small.mount("size=1m") && small.make_read_only());
  const auto id = write_spore(path("small/a"), {});
  ASSERT_FALSE(id);
  EXPECT_EQ(id.error().code(), ErrorCode::kPermissionDenied);
  EXPECT_THAT(id.error().message(), AllOf(HasSubstr(path("small/a")), HasSubstr("Read-only")));
}

TEST_F(WriterTest, ADirectoryThatIsNotOursIsTold) {
  const uid_t user = ::geteuid();
  fs::permissions(directory_.path(), fs::perms::owner_read | fs::perms::owner_exec);
  // Root may write everywhere.
  ASSERT_TRUE(user != 0 || ::seteuid(65534) == 0);
  const auto id = write_spore(path("a"), {});
  ASSERT_TRUE(user != 0 || ::seteuid(user) == 0);
  fs::permissions(directory_.path(), fs::perms::owner_all);
  ASSERT_FALSE(id);
  EXPECT_EQ(id.error().code(), ErrorCode::kPermissionDenied);
  EXPECT_THAT(id.error().message(), HasSubstr(path("a")));
  expect_nothing_left();
}

}  // namespace
}  // namespace spore::snapshot
