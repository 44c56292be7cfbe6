#include "agent/root.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "agent/files.h"

namespace spore::agent {
namespace {

constexpr std::chrono::seconds kDiskLimit{30};
constexpr const char* kWork = "/spore";
constexpr const char* kRoot = "/spore/root";
constexpr unsigned kMaxImages = 26;

Result<std::string> file_system_of(const std::string& disk) {
  constexpr std::uint32_t kSquashfs = 0x73717368;  // at 0
  constexpr std::uint32_t kErofs = 0xe0f5e1e2;     // at 1024
  const base::UniqueFd fd(::open(disk.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 1028> head{};
  const auto got = ::pread(fd.get(), head.data(), head.size(), 0);
  if (!fd.valid() || got != static_cast<ssize_t>(head.size())) {
    return fail(path_error("reading the start of the root image", disk, errno));
  }
  const auto magic_at = [&](std::size_t offset) {
    std::uint32_t magic = 0;
    std::memcpy(&magic, head.data() + offset, sizeof(magic));
    return magic;
  };
  if (magic_at(0) == kSquashfs) {
    return std::string("squashfs");
  }
  if (magic_at(1024) == kErofs) {
    return std::string("erofs");
  }
  return fail(ErrorCode::kCorrupt, "the root image " + disk + " is neither squashfs nor erofs");
}

// Mounts one disk read-only and returns where.
Result<std::string> mount_image(unsigned index, DeviceWaiter& waiter) {
  const std::string disk = std::string("/dev/vd") + static_cast<char>('a' + index);
  if (!waiter.wait([&] { return ::access(disk.c_str(), F_OK) == 0; }, kDiskLimit)) {
    return fail(ErrorCode::kNotFound,
                "waiting for the root image " + disk + ": no such disk has come up");
  }
  SPORE_ASSIGN(const std::string type, file_system_of(disk));
  std::string place = kWork + std::string("/image") + std::to_string(index);
  SPORE_TRY(mount_at(disk, place, type, MS_RDONLY));
  return place;
}

Result<void> mount_overlay(unsigned images, DeviceWaiter& waiter) {
  std::string lower;
  for (unsigned index = 0; index < images; ++index) {
    SPORE_ASSIGN(const std::string place, mount_image(index, waiter));
    lower = lower.empty() ? place : place + ":" + lower;  // overlay wants the topmost first
  }
  const std::string writes = std::string(kWork) + "/writes";
  SPORE_TRY(mount_at("tmpfs", writes, "tmpfs", 0, "mode=0755"));
  SPORE_TRY(make_directories(writes + "/upper"));
  SPORE_TRY(make_directories(writes + "/work"));
  return mount_at(
      "overlay", kRoot, "overlay", 0,
      "lowerdir=" + lower + ",upperdir=" + writes + "/upper,workdir=" + writes + "/work");
}

Result<void> switch_root() {
  for (const std::string place : {"/dev", "/proc", "/sys", "/run"}) {
    const std::string target = kRoot + place;
    SPORE_TRY(make_directories(target));
    if (::mount(place.c_str(), target.c_str(), nullptr, MS_MOVE, nullptr) != 0) {
      return fail(path_error("moving into the new root:", place, errno));
    }
  }
  if (::chdir(kRoot) != 0 || ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 ||
      ::chroot(".") != 0 || ::chdir("/") != 0) {
    return fail(path_error("entering the new root", kRoot, errno));
  }
  return {};
}

}  // namespace

Result<void> enter_root(unsigned images, DeviceWaiter& waiter) {
  if (images > kMaxImages) {
    return fail(ErrorCode::kInvalidArgument, "too many root images");
  }
  if (images == 0) {
    SPORE_TRY(mount_at("tmpfs", kRoot, "tmpfs", 0, "mode=0755"));
  } else {
    SPORE_TRY(mount_overlay(images, waiter));
  }
  return switch_root();
}

Result<void> complete_root() {
  SPORE_TRY(make_directories("/etc"));
  SPORE_TRY(make_directories("/root", 0700));
  constexpr std::array<std::array<const char*, 2>, 3> kFiles{
      {{"/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"},
       {"/etc/group", "root:x:0:\n"},
       {"/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"}}};
  for (const auto& [path, text] : kFiles) {
    if (::access(path, F_OK) != 0) {
      SPORE_TRY(write_atomically(path, text, 0644));
    }
  }
  return {};
}

}  // namespace spore::agent
