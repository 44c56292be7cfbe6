// PID 1 of the nest: makes the machine (setup.h), keeps one process per control port (port.h),
// ends what a client leaves behind, and powers off when it is told to or when nobody was there for
// the idle time.
#include <ftw.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <new>
#include <string>
#include <vector>

#include "agent/boot.h"
#include "nest_init/heartbeat.h"
#include "nest_init/port.h"
#include "nest_init/setup.h"

namespace spore::nest_init {
namespace {

constexpr std::size_t kMaxPorts = 64;
constexpr std::chrono::seconds kPortsLimit{60};

struct Shared {
  SharedState state;
  std::atomic<bool> attached[kMaxPorts];
};

struct Served {
  Port port;
  pid_t pid = -1;
};

std::time_t monotonic_seconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

// Removes the group and those below it, as far as nothing is left in them.
void remove_groups(const std::string& path) {
  nftw(
      path.c_str(),
      [](const char* entry, const struct stat*, int type, FTW*) {
        if (type == FTW_DP) {
          rmdir(entry);
        }
        return 0;
      },
      8, FTW_DEPTH | FTW_PHYS);
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

Shared* make_shared_state() {
  void* memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    die("reserving shared memory");
  }
  return new (memory) Shared;
}

// Ends all that the port's last client left, and waits for the next one.
void start_port(Served& served, std::size_t index, Shared& shared) {
  shared.attached[index] = false;
  write_file(served.port.cgroup + "/cgroup.kill", "1");
  remove_groups(served.port.cgroup);
  served.pid = fork();
  if (served.pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    setsid();
    serve_port(served.port, shared.attached[index], shared.state);
    _exit(0);
  }
}

// The host tells the names of ports after the driver has loaded, one by one.
std::vector<Served> await_ports(const Settings& settings, agent::DeviceWaiter& devices) {
  std::vector<Port> found;
  const auto all_there = [&] {
    found = find_ports();
    return found.size() >= settings.ports;
  };
  if (!devices.wait(all_there, kPortsLimit) || found.size() > kMaxPorts) {
    die("finding the control ports");
  }
  std::vector<Served> ports;
  for (Port& port : found) {
    ports.push_back({.port = std::move(port)});
  }
  return ports;
}

void run(const Settings& settings, agent::DeviceWaiter& devices) {
  Shared& shared = *make_shared_state();
  std::vector<Served> ports = await_ports(settings, devices);
  for (std::size_t i = 0; i < ports.size(); ++i) {
    start_port(ports[i], i, shared);
  }
  std::fprintf(stderr, "spore nest: ready, %zu ports\n", ports.size());

  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  std::time_t last_client = monotonic_seconds();
  for (;;) {
    const timespec second{.tv_sec = 1, .tv_nsec = 0};
    sigtimedwait(&child, nullptr, &second);
    for (pid_t pid; (pid = waitpid(-1, nullptr, WNOHANG)) > 0;) {
      for (std::size_t i = 0; i < ports.size(); ++i) {
        if (ports[i].pid == pid && !shared.state.power_off_asked) {
          start_port(ports[i], i, shared);
        }
      }
    }
    if (shared.state.power_off_asked) {
      return;
    }
    const bool busy = std::any_of(shared.attached, shared.attached + ports.size(),
                                  [](const auto& attached) { return attached.load(); });
    if (busy) {
      last_client = monotonic_seconds();
    } else if (monotonic_seconds() - last_client >=
               static_cast<std::time_t>(settings.idle_seconds)) {
      std::fprintf(stderr, "spore nest: no client for %lu s\n", settings.idle_seconds);
      return;
    }
  }
}

}  // namespace
}  // namespace spore::nest_init

int main() {
  using namespace spore::nest_init;
  mount_early();
  const Settings settings = read_settings();
  start_heartbeats();
  leave_cpu_0();
  auto devices = spore::agent::DeviceWaiter::create();
  if (!devices) {
    die(devices.error().message().c_str());
  }
  load_modules();
  enter_host_root();
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, nullptr);
  run(settings, *devices);
  std::fprintf(stderr, "spore nest: powering off\n");
  kill(-1, SIGKILL);
  power_off();
}
