#include "nest_init/heartbeat.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

namespace spore::nest_init {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kInterval{500};
// A busy host delays the emulator by less; what comes later was lost, and the console says so.
constexpr milliseconds kLost{5'000};

// Only a thread that runs at once is woken by an interrupt wherever it may be.
void run_at_once_on(int cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(cpu, &cpus);
  sched_param priority{};
  priority.sched_priority = sched_get_priority_min(SCHED_FIFO);
  if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0 ||
      sched_setscheduler(0, SCHED_FIFO, &priority) != 0) {
    std::fprintf(stderr, "spore nest: no heartbeat on CPU %d: %m\n", cpu);
    _exit(1);
  }
}

[[noreturn]] void beat(int cpu, int own, int next) {
  run_at_once_on(cpu);
  for (auto due = Clock::now() + kInterval;;) {
    const auto left = std::chrono::ceil<milliseconds>(due - Clock::now()).count();
    pollfd entry{.fd = own, .events = POLLIN, .revents = 0};
    const bool woken = poll(&entry, 1, static_cast<int>(std::max<std::int64_t>(left, 0))) > 0;
    std::uint64_t count = 0;
    static_cast<void>(read(own, &count, sizeof(count)));
    const auto now = Clock::now();
    if (now < due) {
      continue;
    }
    if (woken && now - due > kLost) {
      std::fprintf(stderr, "spore nest: CPU %d had no timer interrupt for %lld ms\n", cpu,
                   static_cast<long long>((now - due) / milliseconds(1)));
    }
    count = 1;
    static_cast<void>(write(next, &count, sizeof(count)));
    due = now + kInterval;
  }
}

}  // namespace

void start_heartbeats() {
  const auto count = static_cast<std::size_t>(sysconf(_SC_NPROCESSORS_ONLN));
  std::vector<int> bells;
  for (std::size_t cpu = 0; cpu < count; ++cpu) {
    bells.push_back(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  }
  for (std::size_t cpu = 0; cpu < count; ++cpu) {
    if (fork() == 0) {
      beat(static_cast<int>(cpu), bells[cpu], bells[(cpu + 1) % count]);
    }
  }
  for (const int bell : bells) {
    close(bell);
  }
}

}  // namespace spore::nest_init
