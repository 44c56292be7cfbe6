#include "cli/machines/tar_stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "support/temporary_directory.h"

namespace spore::cli::machines {
namespace {

using testing::TemporaryDirectory;

using ::testing::HasSubstr;

namespace fs = std::filesystem;

void write_file(const std::string& path, std::string_view text, mode_t mode = 0644) {
  std::ofstream(path) << text;
  chmod(path.c_str(), mode);
}

std::string contents(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

struct stat status_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(lstat(path.c_str(), &status), 0) << path;
  return status;
}

// A tar as a hostile guest may write it.
class Tar {
 public:
  Tar() {
    archive_write_set_format_gnutar(archive_);
    archive_write_open(archive_, this, nullptr, append, nullptr);
  }
  Tar(const Tar&) = delete;
  Tar& operator=(const Tar&) = delete;
  ~Tar() { archive_write_free(archive_); }

  void add(const std::string& path, unsigned type, const std::string& data, mode_t mode = 0644) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, path.c_str());
    archive_entry_set_perm(entry, mode);
    if (type == 0) {
      archive_entry_set_filetype(entry, AE_IFREG);
      archive_entry_set_hardlink(entry, data.c_str());
    } else {
      archive_entry_set_filetype(entry, type);
      archive_entry_set_mtime(entry, 1'000'000'000, 0);
      if (type == AE_IFLNK) {
        archive_entry_set_symlink(entry, data.c_str());
      } else if (type == AE_IFREG) {
        archive_entry_set_size(entry, static_cast<la_int64_t>(data.size()));
      }
    }
    EXPECT_EQ(archive_write_header(archive_, entry), ARCHIVE_OK);
    if (type == AE_IFREG) {
      archive_write_data(archive_, data.data(), data.size());
    }
    archive_entry_free(entry);
  }
  const std::string& bytes() {
    archive_write_close(archive_);
    return bytes_;
  }

 private:
  static la_ssize_t append(archive* /*tar*/, void* self, const void* data, std::size_t size) {
    static_cast<Tar*>(self)->bytes_.append(static_cast<const char*>(data), size);
    return static_cast<la_ssize_t>(size);
  }
  archive* archive_ = archive_write_new();
  std::string bytes_;
};

Result<CopyCount> unpack(std::string_view bytes, const std::string& member,
                         const std::string& directory, const std::string& name) {
  return unpack_tar(
      [&bytes]() -> Result<std::string_view> {
        const std::string_view part = bytes.substr(0, 1000);
        bytes.remove_prefix(part.size());
        return part;
      },
      member, directory, name);
}

std::string pack(const std::string& source, const std::string& name, bool follow = false) {
  std::string bytes;
  const auto packed = pack_tar(source, name, follow, [&bytes](std::string_view part) {
    bytes += part;
    return Result<void>();
  });
  EXPECT_TRUE(packed) << packed.error().message();
  return bytes;
}

TEST(TarStream, ATreeComesOutAsItWentIn) {
  const TemporaryDirectory directory;
  fs::create_directories(directory / "s/sub");
  write_file(directory / "s/sub/run", "text", 0751);
  write_file(directory / "s/empty", "");
  write_file(directory / "s/na me\n\xff", std::string(300'000, 'b'));
  fs::create_symlink("sub/run", directory / "s/link");
  fs::create_symlink("/nowhere", directory / "s/dangling");
  chmod((directory / "s/sub").c_str(), 0710);
  const timespec times[2] = {{1'500'000'000, 0}, {1'400'000'000, 0}};
  utimensat(AT_FDCWD, (directory / "s/sub/run").c_str(), times, 0);
  utimensat(AT_FDCWD, (directory / "s/sub").c_str(), times, 0);
  const std::string here = fs::current_path();
  const auto unpacked = unpack(pack(directory / "s", "new"), "./new", directory.path(), "other");
  ASSERT_TRUE(unpacked) << unpacked.error().message();
  EXPECT_EQ(fs::current_path(), here);
  EXPECT_EQ(unpacked->entries, 7U);
  EXPECT_EQ(unpacked->bytes, 300'004U);
  EXPECT_EQ(contents(directory / "other/sub/run"), "text");
  EXPECT_EQ(contents(directory / "other/na me\n\xff").size(), 300'000U);
  EXPECT_EQ(fs::read_symlink(directory / "other/link"), "sub/run");
  EXPECT_EQ(fs::read_symlink(directory / "other/dangling"), "/nowhere");
  EXPECT_EQ(status_of(directory / "other/sub/run").st_mode & 07777U, 0751U);
  EXPECT_EQ(status_of(directory / "other/sub").st_mode & 07777U, 0710U);
  EXPECT_EQ(status_of(directory / "other/sub/run").st_mtime, 1'400'000'000);
  EXPECT_EQ(status_of(directory / "other/sub").st_mtime, 1'400'000'000);
}

TEST(TarStream, ContentGoesStraightIntoADirectory) {
  const TemporaryDirectory directory;
  fs::create_directories(directory / "s");
  fs::create_directories(directory / "t");
  chmod((directory / "t").c_str(), 0701);
  write_file(directory / "s/f", "1");
  write_file(directory / "t/f", "old");
  write_file(directory / "t/kept", "2");
  ASSERT_TRUE(unpack(pack(directory / "s", ""), ".", directory / "t", ""));
  EXPECT_EQ(contents(directory / "t/f"), "1");
  EXPECT_EQ(contents(directory / "t/kept"), "2");
  EXPECT_EQ(status_of(directory / "t").st_mode & 07777U, 0701U) << "it was not copied itself";
}

TEST(TarStream, ALinkThatIsTheSourceIsFollowedOnlyWhenAsked) {
  const TemporaryDirectory directory;
  fs::create_directories(directory / "s");
  write_file(directory / "s/f", "1");
  fs::create_symlink("s", directory / "link");
  fs::create_symlink("f", directory / "s/inner");
  ASSERT_TRUE(unpack(pack(directory / "link", "a"), "a", directory.path(), "a"));
  EXPECT_EQ(fs::read_symlink(directory / "a"), "s");
  ASSERT_TRUE(unpack(pack(directory / "link", "b", true), "b", directory.path(), "b"));
  EXPECT_EQ(contents(directory / "b/f"), "1");
  EXPECT_TRUE(fs::is_symlink(directory / "b/inner"));
}

TEST(TarStream, HardLinksOfAGuestStayLinks) {
  const TemporaryDirectory directory;
  Tar tar;
  tar.add("./f", AE_IFREG, "text");
  tar.add("./g", 0, "./f");
  const auto unpacked = unpack(tar.bytes(), ".", directory.path(), "");
  ASSERT_TRUE(unpacked) << unpacked.error().message();
  EXPECT_EQ(status_of(directory / "g").st_ino, status_of(directory / "f").st_ino);
}

TEST(TarStream, AFailingReaderOfBytesIsTold) {
  const TemporaryDirectory directory;
  write_file(directory / "f", std::string(1 << 20, 'x'));
  int calls = 0;
  const auto packed = pack_tar(directory / "f", "f", false, [&](std::string_view) -> Result<void> {
    return ++calls == 2 ? fail(ErrorCode::kTimedOut, "enough") : Result<void>();
  });
  ASSERT_FALSE(packed);
  EXPECT_EQ(packed.error().message(), "enough");
  EXPECT_EQ(calls, 2) << "what is cut off must not look whole";
  EXPECT_FALSE(
      pack_tar(directory / "none", "x", false, [](std::string_view) { return Result<void>(); }));
}

// ---- hostile streams
// --------------------------------------------------------------------------------

class HostileTar : public ::testing::Test {
 protected:
  HostileTar() {
    fs::create_directories(directory_ / "in");
    fs::create_directories(directory_ / "outside");
    write_file(directory_ / "outside/secret", "untouched");
  }
  ~HostileTar() override {
    EXPECT_EQ(contents(directory_ / "outside/secret"), "untouched");
    EXPECT_EQ(status_of(directory_ / "outside/secret").st_nlink, 1U);
    EXPECT_EQ(std::distance(fs::directory_iterator(directory_ / "outside"), {}), 1);
    EXPECT_EQ(std::distance(fs::directory_iterator(directory_.path()), {}), 2);
  }
  Result<CopyCount> unpack_all() { return unpack(tar_.bytes(), ".", directory_ / "in", ""); }

  TemporaryDirectory directory_;
  Tar tar_;
};

TEST_F(HostileTar, NamesOutsideAreRefused) {
  for (const std::string& path :
       {std::string("../outside/secret"), std::string("./a/../../outside/secret"),
        directory_ / "outside/secret", std::string("./..")}) {
    Tar tar;
    tar.add(path, AE_IFREG, "gotcha");
    const auto unpacked = unpack(tar.bytes(), ".", directory_ / "in", "");
    ASSERT_FALSE(unpacked) << path;
    EXPECT_EQ(unpacked.error().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(unpacked.error().message(), HasSubstr("not asked for"));
  }
}

TEST_F(HostileTar, NothingIsWrittenThroughALink) {
  tar_.add("./dir", AE_IFLNK, "../outside");
  tar_.add("./dir/secret", AE_IFREG, "gotcha");
  EXPECT_FALSE(unpack_all());
}

TEST_F(HostileTar, NothingIsWrittenThroughALinkDeepDown) {
  tar_.add("./a/b", AE_IFLNK, directory_ / "outside");
  tar_.add("./a/b/c/d", AE_IFREG, "gotcha");
  EXPECT_FALSE(unpack_all());
}

TEST_F(HostileTar, NothingIsWrittenThroughALinkThatWasThere) {
  fs::create_symlink("../outside", directory_ / "in/dir");
  tar_.add("./dir/secret", AE_IFREG, "gotcha");
  EXPECT_FALSE(unpack_all());
}

TEST_F(HostileTar, ALinkIsReplacedNotFollowed) {
  tar_.add("./f", AE_IFLNK, "../outside/secret");
  tar_.add("./f", AE_IFREG, "mine");
  EXPECT_TRUE(unpack_all());
  EXPECT_FALSE(fs::is_symlink(directory_ / "in/f"));
  EXPECT_EQ(contents(directory_ / "in/f"), "mine");
}

TEST_F(HostileTar, HardLinksToTheOutsideAreRefused) {
  for (const std::string& target :
       {std::string("../outside/secret"), directory_ / "outside/secret"}) {
    Tar tar;
    tar.add("./f", 0, target);
    EXPECT_FALSE(unpack(tar.bytes(), ".", directory_ / "in", "")) << target;
  }
}

TEST_F(HostileTar, HardLinksThroughALinkAreRefused) {
  tar_.add("./dir", AE_IFLNK, "../outside");
  tar_.add("./f", 0, "./dir/secret");
  EXPECT_FALSE(unpack_all());
}

TEST_F(HostileTar, OnlyTheMemberIsTaken) {
  tar_.add("./other", AE_IFREG, "gotcha");
  EXPECT_FALSE(unpack(tar_.bytes(), "./asked", directory_ / "in", "name"));
}

TEST_F(HostileTar, NoDevicesAndNoSetUserId) {
  tar_.add("./dev", AE_IFCHR, "");
  tar_.add("./fifo", AE_IFIFO, "");
  tar_.add("./su", AE_IFREG, "x", 06755);
  const auto unpacked = unpack_all();
  ASSERT_TRUE(unpacked);
  EXPECT_EQ(unpacked->skipped, 2U);
  EXPECT_FALSE(fs::exists(directory_ / "in/dev"));
  EXPECT_FALSE(fs::exists(directory_ / "in/fifo"));
  EXPECT_EQ(status_of(directory_ / "in/su").st_mode & 07777U, 0755U);
}

TEST_F(HostileTar, CutOrMangledStreamsAreErrorsOrHarmless) {
  tar_.add("./d/f", AE_IFREG, std::string(5000, 'x'));
  tar_.add("./l", AE_IFLNK, "d");
  const std::string whole = tar_.bytes();
  EXPECT_FALSE(unpack(whole.substr(0, 3000), ".", directory_ / "in", ""));
  std::mt19937_64 random(5);  // NOLINT: the same every time
  for (int round = 0; round < 300; ++round) {
    std::string bytes = whole;
    for (int i = 0; i < 4; ++i) {
      bytes[random() % 600] = static_cast<char>(random());
    }
    static_cast<void>(unpack(bytes, ".", directory_ / "in", ""));
  }
}

TEST(TargetPath, MapsEntries) {
  EXPECT_EQ(*target_path("./", ".", ""), "");
  EXPECT_EQ(*target_path("./", ".", "n"), "n");
  EXPECT_EQ(*target_path("./a//b/.", ".", "n"), "n/a/b");
  EXPECT_EQ(*target_path("./f", "./f", "g"), "g");
  EXPECT_FALSE(target_path("./ff", "./f", "g"));
  EXPECT_FALSE(target_path("/f", ".", ""));
  EXPECT_FALSE(target_path("a/..", ".", ""));
}

}  // namespace
}  // namespace spore::cli::machines
