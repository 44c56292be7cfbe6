#include "agent/boot.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <system_error>
#include <vector>

#include "agent/files.h"

namespace spore::agent {
namespace {

using Clock = std::chrono::steady_clock;

constexpr rlim_t kOpenFiles = 65536;
constexpr int kRandomBits = 28;
// Not every state that is waited for has an event of its own; ask again at least this often.
constexpr int kPollMilliseconds = 20;

Result<void> load_module(const std::string& path) {
  const base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) {
    return fail(path_error("opening the kernel module", path, errno));
  }
  if (::syscall(SYS_finit_module, fd.get(), "", 0) != 0 && errno != EEXIST) {
    return fail(path_error("loading the kernel module", path, errno));
  }
  return {};
}

void make_device_links() {
  constexpr std::array<std::array<const char*, 2>, 4> kLinks{{{"/proc/self/fd", "/dev/fd"},
                                                              {"/proc/self/fd/0", "/dev/stdin"},
                                                              {"/proc/self/fd/1", "/dev/stdout"},
                                                              {"/proc/self/fd/2", "/dev/stderr"}}};
  for (const auto& [target, link] : kLinks) {
    [[maybe_unused]] const int made = ::symlink(target, link);  // EEXIST is as good
  }
  ::unlink("/dev/ptmx");
  [[maybe_unused]] const int made = ::symlink("pts/ptmx", "/dev/ptmx");
}

// A kernel that scatters mappings over more of the address space puts some where AddressSanitizer
// and ThreadSanitizer have their shadow memory: their programs then die at the start, now and then.
Result<void> bound_randomness() {
  constexpr const char* kPath = "/proc/sys/vm/mmap_rnd_bits";
  const auto text = read_file(kPath);
  if (!text || std::atoi(text->c_str()) <= kRandomBits) {
    return {};  // a kernel without it scatters nothing
  }
  return write_existing(kPath, std::to_string(kRandomBits));
}

}  // namespace

Result<void> mount_at(const std::string& source, const std::string& target, const std::string& type,
                      unsigned long flags, const std::string& data) {
  SPORE_TRY(make_directories(target));
  if (::mount(source.c_str(), target.c_str(), type.c_str(), flags, data.c_str()) != 0 &&
      errno != EBUSY) {
    return fail(path_error("mounting " + type + " at", target, errno));
  }
  return {};
}

Result<void> mount_kernel_filesystems() {
  constexpr unsigned long kFlags = MS_NOSUID | MS_NOEXEC | MS_NODEV;
  SPORE_TRY(mount_at("proc", "/proc", "proc", kFlags));
  SPORE_TRY(mount_at("sysfs", "/sys", "sysfs", kFlags));
  SPORE_TRY(mount_at("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755"));
  return mount_at("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
}

Result<void> mount_user_filesystems() {
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV;
  SPORE_TRY(mount_at("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                     "mode=0620,gid=5,ptmxmode=0666"));
  SPORE_TRY(mount_at("tmpfs", "/dev/shm", "tmpfs", kFlags, "mode=1777"));
  SPORE_TRY(mount_at("cgroup2", "/sys/fs/cgroup", "cgroup2", kFlags | MS_NOEXEC));
  make_device_links();
  struct stat status {};
  if (::stat("/tmp", &status) != 0) {
    return mount_at("tmpfs", "/tmp", "tmpfs", kFlags, "mode=1777");
  }
  if ((status.st_mode & 07777U) != 01777U && ::chmod("/tmp", 01777) != 0) {
    return fail(path_error("opening up", "/tmp", errno));
  }
  return {};
}

Result<void> load_modules(const std::string& directory) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.path().extension() == ".ko") {
      paths.push_back(entry.path().string());
    }
  }
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    SPORE_TRY(load_module(path));
  }
  return {};
}

Result<std::optional<std::string>> kernel_argument(std::string_view key) {
  SPORE_ASSIGN(const std::string text, read_file("/proc/cmdline"));
  std::istringstream words(text);
  std::optional<std::string> value;
  for (std::string word; words >> word;) {
    if (word.size() > key.size() && word.starts_with(key) && word[key.size()] == '=') {
      value = word.substr(key.size() + 1);
    }
  }
  return value;
}

Result<void> prepare_network_and_limits() {
  const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
  if (!socket.valid() || ::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) {
    return fail(Error::from_errno(errno, "bringing the loopback interface up"));
  }
  const rlimit files{kOpenFiles, kOpenFiles};
  if (::setrlimit(RLIMIT_NOFILE, &files) != 0) {
    return fail(Error::from_errno(errno, "raising the limit of open files"));
  }
  return bound_randomness();
}

Result<DeviceWaiter> DeviceWaiter::create() {
  base::UniqueFd events(
      ::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1;  // the kernel's own events
  if (!events.valid() ||
      ::bind(events.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return fail(Error::from_errno(errno, "listening for kernel device events"));
  }
  return DeviceWaiter(std::move(events));
}

bool DeviceWaiter::wait(const std::function<bool()>& ready, std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (!ready()) {
    if (Clock::now() >= deadline) {
      return false;
    }
    pollfd event{events_.get(), POLLIN, 0};
    ::poll(&event, 1, kPollMilliseconds);
    std::array<char, 4096> buffer;
    while (::recv(events_.get(), buffer.data(), buffer.size(), 0) > 0) {
    }
  }
  return true;
}

}  // namespace spore::agent
