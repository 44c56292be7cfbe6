#include "nest_init/port.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <optional>

#include "agent/agent.h"
#include "wire/nest_attach.h"

namespace spore::nest_init {
namespace {

using wire::AttachKind;
using wire::AttachRecord;

// The port's driver sends SIGIO when the host's side opens or closes; poll() only ever says POLLHUP
// while nobody is there, so it cannot be waited on.
class HostWatch {
 public:
  explicit HostWatch(int fd) : fd_(fd) {
    sigemptyset(&set_);
    sigaddset(&set_, SIGIO);
    sigprocmask(SIG_BLOCK, &set_, &previous_);
    fcntl(fd_, F_SETOWN, getpid());
    fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_ASYNC);
  }
  HostWatch(const HostWatch&) = delete;
  HostWatch& operator=(const HostWatch&) = delete;
  ~HostWatch() {
    fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) & ~O_ASYNC);
    const timespec now{};
    while (sigtimedwait(&set_, nullptr, &now) > 0) {
    }
    sigprocmask(SIG_SETMASK, &previous_, nullptr);
  }

  // Waits until there is something to read from a client.
  void wait_readable() const {
    for (;;) {
      pollfd entry{.fd = fd_, .events = POLLIN, .revents = 0};
      const bool hung_up = poll(&entry, 1, 0) > 0 && (entry.revents & POLLHUP) != 0;
      if (hung_up) {
        const timespec bound{.tv_sec = 1, .tv_nsec = 0};
        sigtimedwait(&set_, nullptr, &bound);
        continue;
      }
      if (poll(&entry, 1, -1) > 0 && (entry.revents & POLLHUP) == 0) {
        return;
      }
    }
  }

 private:
  int fd_;
  sigset_t set_{};
  sigset_t previous_{};
};

bool write_record(int fd, const AttachRecord& record) {
  return write(fd, &record, sizeof(record)) == static_cast<ssize_t>(sizeof(record));
}

// Answers whoever asks until a client decides: kGo or kPowerOff. One byte is read at a time, so
// that what follows the decision is left for the agent.
AttachKind shake_hands(int fd) {
  const HostWatch watch(fd);
  wire::AttachScanner scanner;
  std::optional<AttachRecord> asked;
  for (;;) {
    watch.wait_readable();
    char byte = 0;
    if (read(fd, &byte, 1) != 1) {
      continue;
    }
    const auto record = scanner.feed(byte);
    if (!record) {
      continue;
    }
    if (record->kind == AttachKind::kAttach) {
      asked = record;
      write_record(fd,
                   wire::make_attach_record(AttachKind::kEcho, record->sequence, record->nonce));
    } else if (asked && record->nonce == asked->nonce && record->sequence == asked->sequence) {
      return record->kind;
    }
  }
}

}  // namespace

std::vector<Port> find_ports() {
  constexpr const char* kClass = "/sys/class/virtio-ports";
  std::vector<Port> ports;
  DIR* directory = opendir(kClass);
  if (directory == nullptr) {
    return ports;
  }
  while (const dirent* entry = readdir(directory)) {
    std::ifstream file(std::string(kClass) + "/" + entry->d_name + "/name");
    std::string name;
    if (std::getline(file, name) && name.starts_with("spore.")) {
      ports.push_back({.device = std::string("/dev/") + entry->d_name,
                       .name = name,
                       .cgroup = "/sys/fs/cgroup/" + name});
    }
  }
  closedir(directory);
  std::sort(ports.begin(), ports.end(),
            [](const Port& a, const Port& b) { return a.name < b.name; });
  return ports;
}

void serve_port(const Port& port, std::atomic<bool>& attached, SharedState& shared) {
  // Opening it anew discards what the client before left unread.
  int fd = -1;
  while ((fd = open(port.device.c_str(), O_RDWR | O_CLOEXEC)) < 0) {
    if (errno != EBUSY && errno != EINTR) {
      std::fprintf(stderr, "spore nest: opening %s: %s\n", port.device.c_str(),
                   std::strerror(errno));
      return;
    }
    const timespec pause{.tv_sec = 0, .tv_nsec = 10'000'000};
    nanosleep(&pause, nullptr);
  }
  if (shake_hands(fd) == AttachKind::kPowerOff) {
    shared.power_off_asked = true;
    return;
  }
  attached = true;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const auto served = agent::run_agent(
      fd, {.cgroup_root = port.cgroup, .run_directory = "", .generation = nullptr});
  if (!served) {
    std::fprintf(stderr, "spore nest: serving %s: %s\n", port.name.c_str(),
                 served.error().message().c_str());
  }
}

}  // namespace spore::nest_init
