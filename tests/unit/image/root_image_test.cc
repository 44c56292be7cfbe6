#include "image/root_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "image/squashfs.h"
#include "image/subprocess.h"
#include "unit/image/temporary.h"

namespace spore::image {
namespace {

using test::TemporaryDirectory;
using testing::HasSubstr;

constexpr std::chrono::seconds kTimeout{120};

class RootImageTest : public testing::Test {
 protected:
  Result<Image> build(const ImageSpec& spec, std::string_view cache_name = "cache") {
    auto cache = Cache::open_at(directory_.path(cache_name));
    return build_image_in(*cache, spec, {});
  }
  // A directory of files, as the root of an image.
  ImageSpec small_tree() {
    directory_.write("tree/a.txt", "alpha");
    directory_.write("tree/deep/er/b.txt", "beta");
    std::filesystem::create_symlink("../a.txt", directory_.path("tree/deep/link"));
    return {.mounts = {{directory_.path("tree"), "/"}}};
  }
  std::string unsquash(const Image& image) {
    const std::string root = directory_.path("root");
    std::filesystem::remove_all(root);
    auto output = run_command({"unsquashfs", "-q", "-n", "-d", root, image.path}, kTimeout);
    EXPECT_TRUE(output);
    EXPECT_EQ(output->end.code, 0) << output->standard_error;
    return root;
  }
  // What a command says inside the image.
  CommandOutput run_in(const Image& image, std::vector<std::string> command) {
    std::vector<std::string> argv{
        "env", "-i", "PATH=/usr/bin:/bin", "HOME=/", "/usr/sbin/chroot", unsquash(image)};
    argv.insert(argv.end(), command.begin(), command.end());
    auto output = run_command(argv, kTimeout);
    EXPECT_TRUE(output) << output.error().message();
    return output ? *output : CommandOutput{};
  }
  // The lock is all that may be left in a cache where nothing was built.
  void expect_nothing_left() { EXPECT_EQ(test::count_entries(directory_.path("cache")), 1u); }
  TemporaryDirectory directory_;
};

TEST_F(RootImageTest, HoldsTheTreeAsItIs) {
  const ImageSpec spec = small_tree();
  ASSERT_EQ(::chmod(directory_.path("tree/a.txt").c_str(), 0741), 0);
  auto image = build(spec);
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_TRUE(image->built);
  EXPECT_EQ(image->path, directory_.path("cache/" + image->digest + ".squashfs"));
  EXPECT_EQ(image->bytes, std::filesystem::file_size(image->path));
  const std::string root = unsquash(*image);
  EXPECT_EQ(test::read_all(root + "/a.txt"), "alpha");
  EXPECT_EQ(test::read_all(root + "/deep/er/b.txt"), "beta");
  EXPECT_EQ(std::filesystem::read_symlink(root + "/deep/link"), "../a.txt");
  struct stat before {};
  struct stat after {};
  ASSERT_EQ(::stat(directory_.path("tree/a.txt").c_str(), &before), 0);
  ASSERT_EQ(::stat((root + "/a.txt").c_str(), &after), 0);
  EXPECT_EQ(after.st_mode & 07777, 0741u);
  EXPECT_EQ(after.st_mtime, before.st_mtime);
}

TEST_F(RootImageTest, SameInputSameBytes) {
  const ImageSpec spec = small_tree();
  auto first = build(spec, "cache1");
  // A directory's own time says nothing about what is in it.
  directory_.write("tree/deep/passing", "x");
  std::filesystem::remove(directory_.path("tree/deep/passing"));
  auto second = build(spec, "cache2");
  ASSERT_TRUE(first && second);
  EXPECT_TRUE(second->built);
  EXPECT_EQ(first->digest, second->digest);
  EXPECT_EQ(first->bytes, second->bytes);
  // The time of the build, at which both may have been made, is nowhere in it.
  struct stat root {};
  ASSERT_EQ(::stat(unsquash(*second).c_str(), &root), 0);
  EXPECT_EQ(root.st_mtime, 0);
}

TEST_F(RootImageTest, FindsWhatItBuiltUntilAFileChanges) {
  const ImageSpec spec = small_tree();
  auto first = build(spec);
  auto again = build(spec);
  ASSERT_TRUE(first && again);
  EXPECT_FALSE(again->built);
  EXPECT_EQ(again->path, first->path);
  EXPECT_EQ(again->bytes, first->bytes);
  directory_.write("tree/a.txt", "other");
  auto changed = build(spec);
  ASSERT_TRUE(changed);
  EXPECT_TRUE(changed->built);
  EXPECT_NE(changed->digest, first->digest);
  ASSERT_EQ(::truncate(changed->path.c_str(), 10), 0);
  auto mended = build(spec);
  ASSERT_TRUE(mended);
  EXPECT_TRUE(mended->built);
  EXPECT_EQ(mended->digest, changed->digest);
}

TEST_F(RootImageTest, FewBytesBecomeAnArchive) {
  ImageSpec spec = small_tree();
  constexpr std::uint64_t kBytes = 8 * 4096;  // six entries, and two files of less than a page
  spec.archive_up_to = kBytes;
  const auto archive = build(spec);
  ASSERT_TRUE(archive) << archive.error().message();
  EXPECT_TRUE(archive->archive);
  EXPECT_EQ(archive->path, directory_.path("cache/" + archive->digest + ".tar"));
  const std::string root = directory_.path("unpacked");
  std::filesystem::create_directory(root);
  const auto output = run_command({"tar", "-xpf", archive->path, "-C", root}, kTimeout);
  ASSERT_TRUE(output);
  EXPECT_EQ(output->end.code, 0) << output->standard_error;
  EXPECT_EQ(test::read_all(root + "/a.txt"), "alpha");
  EXPECT_EQ(test::read_all(root + "/deep/er/b.txt"), "beta");
  EXPECT_EQ(std::filesystem::read_symlink(root + "/deep/link"), "../a.txt");
  EXPECT_FALSE(build(spec)->built);
  EXPECT_EQ(build(spec, "another cache")->digest, archive->digest);

  spec.archive_up_to = kBytes - 1;
  const auto image = build(spec);
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_TRUE(image->built);
  EXPECT_FALSE(image->archive);
  EXPECT_EQ(image->path, directory_.path("cache/" + image->digest + ".squashfs"));
}

TEST_F(RootImageTest, MountsLieElsewhereAndExcludesAreLeftOut) {
  directory_.write("tree/keep.txt", "keep");
  directory_.write("tree/drop.o", "drop");
  directory_.write("tree/.git/config", "drop");
  const std::string file = directory_.write("single", "one");
  auto image = build({.mounts = {{directory_.path("tree"), "/opt/project"}, {file, "/etc/one"}},
                      .excludes = {"*.o", "*/.git"}});
  ASSERT_TRUE(image) << image.error().message();
  const std::string root = unsquash(*image);
  EXPECT_EQ(test::read_all(root + "/opt/project/keep.txt"), "keep");
  EXPECT_EQ(test::read_all(root + "/etc/one"), "one");
  EXPECT_FALSE(std::filesystem::exists(root + "/opt/project/drop.o"));
  EXPECT_FALSE(std::filesystem::exists(root + "/opt/project/.git"));
}

TEST_F(RootImageTest, LinksOnTheWayAreKeptAndTheirTargetsCome) {
  directory_.write("real/file", "content");
  std::filesystem::create_directory_symlink("real", directory_.path("door"));
  std::filesystem::create_symlink("door/file", directory_.path("name"));
  auto image = build({.paths = {directory_.path("name")}});
  ASSERT_TRUE(image) << image.error().message();
  const std::string root = unsquash(*image);
  EXPECT_EQ(std::filesystem::read_symlink(root + directory_.path("name")), "door/file");
  EXPECT_EQ(std::filesystem::read_symlink(root + directory_.path("door")), "real");
  EXPECT_EQ(test::read_all(root + directory_.path("name")), "content");
}

TEST_F(RootImageTest, ConcurrentBuildsDoTheWorkOnce) {
  const ImageSpec spec = small_tree();
  std::vector<Result<Image>> images(4, fail(ErrorCode::kInternal, "not run"));
  std::vector<std::thread> threads;
  for (auto& image : images) {
    threads.emplace_back([&] { image = build(spec); });
  }
  int built = 0;
  for (std::size_t i = 0; i < threads.size(); ++i) {
    threads[i].join();
    ASSERT_TRUE(images[i]) << images[i].error().message();
    EXPECT_EQ(images[i]->digest, images[0]->digest);
    built += images[i]->built ? 1 : 0;
  }
  EXPECT_EQ(built, 1);
}

TEST_F(RootImageTest, NamesWhatCannotBePacked) {
  auto missing = build({.paths = {directory_.path("missing")}});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message(), HasSubstr(directory_.path("missing")));
  EXPECT_FALSE(build({.paths = {"relative"}}));
  EXPECT_FALSE(build({.mounts = {{directory_.path(), "relative"}}}));
  std::filesystem::create_symlink("loop", directory_.path("loop"));
  EXPECT_FALSE(build({.paths = {directory_.path("loop")}}));
  auto program = build({.programs = {"no-such-program-anywhere"}});
  ASSERT_FALSE(program);
  EXPECT_THAT(program.error().message(), HasSubstr("no-such-program-anywhere"));
  auto python = build({.pythons = {"/bin/false"}});
  ASSERT_FALSE(python);
  EXPECT_THAT(python.error().message(), HasSubstr("/bin/false"));
}

TEST_F(RootImageTest, FilesThatVanishOrChangeWhilePackingAreNamed) {
  const ImageSpec spec = small_tree();
  auto cache = Cache::open_at(directory_.path("cache"));
  const auto pack = [&](const std::function<void()>& meanwhile) {
    auto tree = collect(spec, cache->directory());
    EXPECT_TRUE(tree);
    meanwhile();
    auto file = CacheFile::create(*cache, "test");
    EXPECT_TRUE(file);
    auto written = write_squashfs(*tree, file->fd(), {});
    EXPECT_FALSE(written);
    return written ? "" : written.error().message();
  };
  EXPECT_THAT(pack([&] { directory_.write("tree/a.txt", "longer than it was"); }),
              HasSubstr("tree/a.txt: it changed"));
  EXPECT_THAT(pack([&] { directory_.write("tree/a.txt", ""); }),
              HasSubstr("tree/a.txt: it changed"));
  EXPECT_THAT(pack([&] { std::filesystem::remove(directory_.path("tree/a.txt")); }),
              HasSubstr("tree/a.txt"));
  EXPECT_EQ(test::count_entries(directory_.path("cache")), 0u);
}

TEST_F(RootImageTest, SaysThatSqfstarIsMissing) {
  const ImageSpec spec = small_tree();
  const std::string path = ::getenv("PATH");
  ::setenv("PATH", directory_.path().c_str(), 1);
  auto image = build(spec);
  ::setenv("PATH", path.c_str(), 1);
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(image.error().message(), HasSubstr("squashfs-tools"));
  expect_nothing_left();
}

TEST_F(RootImageTest, AFullDiskIsSaidAndNothingIsLeft) {
  const ImageSpec spec = small_tree();
  directory_.write("tree/large", std::string(16 * 1024 * 1024, 'x'));
  std::filesystem::create_directory(directory_.path("cache"));
  if (::mount("small", directory_.path("cache").c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "mounting a small tmpfs needs root";
  }
  auto image = build(spec);
  const std::size_t left = test::count_entries(directory_.path("cache"));
  ASSERT_EQ(::umount(directory_.path("cache").c_str()), 0);
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code(), ErrorCode::kResourceExhausted) << image.error().message();
  EXPECT_THAT(image.error().message(), HasSubstr("SPORE_CACHE_DIR"));
  EXPECT_EQ(left, 1u);
}

// ---- real programs
// --------------------------------------------------------------------------------

TEST_F(RootImageTest, ProgramsOfTheBaseSystemRun) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "chroot needs root";
  }
  auto image = build({.base_system = true});
  ASSERT_TRUE(image) << image.error().message();
  const auto output = run_in(
      *image, {"/bin/sh", "-c", "ls /etc/passwd | sed s/etc/E/ && id -un && stat -c %a /tmp"});
  EXPECT_EQ(output.standard_output, "/E/passwd\nroot\n1777\n") << output.standard_error;
}

TEST_F(RootImageTest, PostgresFindsItsLibraries) {
  std::string postgres;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/usr/lib/postgresql", ignored)) {
    postgres = entry.path() / "bin/postgres";
  }
  if (postgres.empty() || ::geteuid() != 0) {
    GTEST_SKIP() << "needs PostgreSQL, and root for chroot";
  }
  auto image = build({.programs = {postgres}});
  ASSERT_TRUE(image) << image.error().message();
  const auto output = run_in(*image, {postgres, "--version"});
  EXPECT_THAT(output.standard_output, HasSubstr("PostgreSQL")) << output.standard_error;
}

TEST_F(RootImageTest, ThePythonEnvironmentWorks) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "chroot needs root";
  }
  auto image = build({.pythons = {"/usr/bin/python3"}});
  ASSERT_TRUE(image) << image.error().message();
  const auto output =
      run_in(*image, {"/usr/bin/python3", "-c",
                      "import ssl, sqlite3, ctypes, json, zoneinfo, site; "
                      "print(ssl.OPENSSL_VERSION, zoneinfo.ZoneInfo('Europe/Berlin'))"});
  EXPECT_THAT(output.standard_output, HasSubstr("OpenSSL")) << output.standard_error;
  auto again = build({.pythons = {"/usr/bin/python3"}});
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->built);
}

TEST_F(RootImageTest, AnEnvironmentInTheCacheIsRefused) {
  const std::string venv = directory_.path("cache/venv");
  auto made = run_command({"/usr/bin/python3", "-m", "venv", "--without-pip", venv}, kTimeout);
  if (!made || made->end.code != 0) {
    GTEST_SKIP() << "needs Python's venv module";
  }
  const auto image = build({.pythons = {venv + "/bin/python"}});
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(image.error().message(), HasSubstr(venv + "/bin/python"));
}

TEST_F(RootImageTest, AVirtualEnvironmentBringsItsBaseAndItsOwnPackages) {
  const std::string venv = directory_.path("venv");
  auto made = run_command({"/usr/bin/python3", "-m", "venv", "--without-pip", venv}, kTimeout);
  if (!made || made->end.code != 0 || ::geteuid() != 0) {
    GTEST_SKIP() << "needs Python's venv module, and root for chroot";
  }
  std::string packages;
  for (const auto& entry : std::filesystem::directory_iterator(venv + "/lib")) {
    packages = entry.path().string() + "/site-packages";
  }
  directory_.write("editable/module_by_path.py", "value = 1");
  directory_.write("hooked/source.py", "value = 2");
  std::filesystem::create_directories(packages + "/hooked-1.dist-info");
  std::ofstream(packages + "/own.py") << "value = 3";
  std::ofstream(packages + "/editable.pth") << directory_.path("editable") << "\n";
  std::ofstream(packages + "/hooked-1.dist-info/METADATA") << "Name: hooked\nVersion: 1\n";
  std::ofstream(packages + "/hooked-1.dist-info/direct_url.json")
      << R"({"url": "file://)" << directory_.path("hooked")
      << R"(", "dir_info": {"editable": true}})";
  auto image = build({.pythons = {venv + "/bin/python"}});
  ASSERT_TRUE(image) << image.error().message();
  const auto output = run_in(*image, {venv + "/bin/python", "-c",
                                      "import own, module_by_path, sys, json; "
                                      "print(own.value, module_by_path.value, sys.prefix)"});
  EXPECT_EQ(output.standard_output, "3 1 " + venv + "\n") << output.standard_error;
  EXPECT_TRUE(
      std::filesystem::exists(directory_.path("root") + directory_.path("hooked/source.py")));
}

}  // namespace
}  // namespace spore::image
