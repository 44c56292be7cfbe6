#include "nest_init/setup.h"

#include <fcntl.h>
#include <linux/reboot.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spore::nest_init {
namespace {

constexpr const char* kHostRoot = "/newroot";
constexpr std::string_view kHostName = "spore-nest";

// A failure here shows up as something missing later; the console says what it was.
void mount_or_warn(const char* source, const char* target, const char* type, unsigned long flags,
                   const char* data) {
  if (mount(source, target, type, flags, data) != 0) {
    std::fprintf(stderr, "spore nest: mounting %s at %s: %s\n", type, target, std::strerror(errno));
  }
}

void load_module(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    std::fprintf(stderr, "spore nest: opening %s: %s\n", path.c_str(), std::strerror(errno));
    return;
  }
  if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST) {
    std::fprintf(stderr, "spore nest: loading %s: %s\n", path.c_str(), std::strerror(errno));
  }
  close(fd);
}

// The nest's own kernel interfaces and scratch space, over whatever the host has there.
void mount_over(const std::string& root) {
  const auto at = [&root](const char* path) { return root + path; };
  mount_or_warn("proc", at("/proc").c_str(), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  mount_or_warn("sysfs", at("/sys").c_str(), "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  mount_or_warn("cgroup2", at("/sys/fs/cgroup").c_str(), "cgroup2",
                MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  mount_or_warn("devtmpfs", at("/dev").c_str(), "devtmpfs", MS_NOSUID, nullptr);
  mkdir(at("/dev/pts").c_str(), 0755);
  mount_or_warn("devpts", at("/dev/pts").c_str(), "devpts", MS_NOSUID | MS_NOEXEC,
                "ptmxmode=0666,mode=620,gid=5");
  mkdir(at("/dev/shm").c_str(), 01777);
  mount_or_warn("tmpfs", at("/dev/shm").c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
  mount_or_warn("tmpfs", at("/run").c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
  symlink("/proc/self/fd", at("/dev/fd").c_str());
  symlink("/proc/self/fd/0", at("/dev/stdin").c_str());
  symlink("/proc/self/fd/1", at("/dev/stdout").c_str());
  symlink("/proc/self/fd/2", at("/dev/stderr").c_str());
}

// Machines ask for huge pages for their RAM: one nested page fault then stands for 512.
void allow_huge_pages() {
  std::ofstream file("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
  if (!(file << "advise" << std::flush)) {
    std::fprintf(stderr, "spore nest: huge pages for files in memory cannot be had\n");
  }
}

}  // namespace

void power_off() {
  sync();
  reboot(LINUX_REBOOT_CMD_POWER_OFF);
  _exit(1);
}

void die(const char* what) {
  std::fprintf(stderr, "spore nest: %s: %s\n", what, std::strerror(errno));
  power_off();
}

void mount_early() {
  for (const char* directory : {"/proc", "/sys", "/dev", kHostRoot}) {
    mkdir(directory, 0755);
  }
  mount("proc", "/proc", "proc", 0, nullptr);
  mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  const int console = open("/dev/console", O_RDWR);
  if (console >= 0) {
    for (int fd = 0; fd <= 2; ++fd) {
      dup2(console, fd);
    }
    if (console > 2) {
      close(console);
    }
  }
}

Settings read_settings() {
  Settings settings;
  std::ifstream file("/proc/cmdline");
  const std::pair<std::string_view, unsigned long*> known[] = {
      {"spore.idle=", &settings.idle_seconds}, {"spore.ports=", &settings.ports}};
  for (std::string word; file >> word;) {
    for (const auto& [key, value] : known) {
      if (word.starts_with(key)) {
        *value = std::strtoul(word.c_str() + key.size(), nullptr, 10);
      }
    }
  }
  return settings;
}

void load_modules() {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator("/modules")) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    load_module(path);
  }
}

void leave_cpu_0() {
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) {
    die("asking which CPUs there are");
  }
  CPU_CLR(0, &cpus);
  if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0) {
    die("leaving CPU 0");
  }
}

void enter_host_root() {
  // cache=mmap: only mapped pages are kept, and only while a file is open, so that a file the host
  // replaces or makes is always seen as it is.
  if (mount("spore-root", kHostRoot, "9p", 0,
            "trans=virtio,version=9p2000.L,msize=512000,cache=mmap,access=any") != 0) {
    die("mounting the host's file system over virtio-9p");
  }
  mount_over(kHostRoot);
  sethostname(kHostName.data(), kHostName.size());
  if (chdir(kHostRoot) != 0 || mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 ||
      chroot(".") != 0 || chdir("/") != 0) {
    die("making the host's file system the root");
  }
  allow_huge_pages();
}

}  // namespace spore::nest_init
