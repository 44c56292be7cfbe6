#include "nest/nest.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "image/initramfs.h"
#include "image/kernel.h"
#include "nest/attach.h"
#include "nest/environment.h"
#include "nest/launch.h"
#include "nest/qemu.h"

namespace spore::nest {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr unsigned kControlPort = 0;  // for start and stop; clients use 1 to kClientPorts
// A boot takes ten seconds, or thirty on a busy host.
constexpr seconds kBootBound{60};
// A boot was seen in which one CPU's timer interrupts never came: its threads slept until the stall
// detector looked, every 21 s, so it did not end. Nothing was in that nest yet: another is started.
constexpr int kBootAttempts = 3;
constexpr seconds kAttachBound{30};
constexpr milliseconds kReconnectInterval{1500};
constexpr seconds kPortBound{60};
constexpr int kStartLockMs = 150'000;
constexpr int kPowerOffMs = 6'000;
constexpr int kSignalMs = 3'000;
constexpr std::size_t kConsoleTailBytes = 2'000;

// What the starter of a nest leaves for the others to read.
struct State {
  int pid = -1;
  std::int64_t started_at = 0;
  std::string qemu;
  std::string qemu_version;
  std::string kernel_release;
  std::uint64_t memory_bytes = 0;
  std::uint64_t idle_seconds = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(State, pid, started_at, qemu, qemu_version, kernel_release,
                                   memory_bytes, idle_seconds)

std::optional<State> read_state(const RuntimeDir& dir) {
  std::ifstream file(dir.state());
  try {
    return nlohmann::json::parse(file).get<State>();
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

Result<void> write_state(const RuntimeDir& dir, const State& state) {
  const std::string temporary = dir.state() + ".new";
  std::ofstream file(temporary);
  file << nlohmann::json(state).dump(2) << '\n';
  file.close();
  if (!file || rename(temporary.c_str(), dir.state().c_str()) != 0) {
    return fail(Error::from_errno(errno, fmt::format("writing {}", dir.state())));
  }
  return {};
}

std::string tail_of(const std::string& path) {
  std::ifstream file(path);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (text.size() > kConsoleTailBytes) {
    text.erase(0, text.find('\n', text.size() - kConsoleTailBytes) + 1);
  }
  return text;
}

// A nest that is up: QEMU lives, and its starter saw it answer.
Result<bool> is_running(const RuntimeDir& dir) {
  SPORE_ASSIGN(const bool alive, FileLock::is_held(dir.alive_lock()));
  return alive && read_state(dir).has_value();
}

bool wait_ended(int pidfd, int timeout_ms) {
  pollfd entry{.fd = pidfd, .events = POLLIN, .revents = 0};
  return poll(&entry, 1, timeout_ms) > 0;
}

struct BootFiles {
  Qemu qemu;
  image::Kernel kernel;
  std::string initramfs;
};

Result<BootFiles> prepare_boot_files() {
  BootFiles files;
  SPORE_ASSIGN(files.qemu, find_qemu());
  SPORE_ASSIGN(files.kernel, image::find_kernel(""));
  image::InitramfsSpec spec;
  SPORE_ASSIGN(spec.init_path, helper_program("spore-nest-init"));
  spec.kernel_release = files.kernel.release;
  spec.modules = image::kNestModules;
  spec.modules.push_back("kvm-amd");
  SPORE_ASSIGN(files.initramfs, image::build_initramfs(spec));
  return files;
}

Error start_failed(const RuntimeDir& dir, const Error& why) {
  const std::string qemu = tail_of(dir.qemu_log());
  const std::string console = tail_of(dir.console());
  return Error(why.code(),
               fmt::format("starting the nest: {}; see {} and {}{}{}{}{}", why.message(),
                           dir.qemu_log(), dir.console(), qemu.empty() ? "" : "\nQEMU said:\n",
                           qemu, console.empty() ? "" : "\nThe end of its console:\n", console));
}

// QEMU, once the nest in it answers; it has ended where this fails.
Result<DetachedProcess> boot(const RuntimeDir& dir, const Qemu& qemu, const NestMachine& machine,
                             int alive) {
  SPORE_ASSIGN(auto process,
               DetachedProcess::launch(qemu_command(qemu, machine), dir.qemu_log(), alive));
  SPORE_TRY(Attachment::attach(dir.port_socket(kControlPort),
                               {.deadline = SteadyClock::now() + kBootBound,
                                .reconnect_after = std::nullopt,
                                .qemu_pidfd = process.pidfd()}));
  return process;
}

Result<DetachedProcess> boot_at_last(const RuntimeDir& dir, const Qemu& qemu,
                                     const NestMachine& machine, int alive,
                                     const Progress& progress) {
  for (int attempt = 1;; ++attempt) {
    auto process = boot(dir, qemu, machine, alive);
    if (process || process.error().code() != ErrorCode::kTimedOut || attempt == kBootAttempts) {
      return process;
    }
    if (progress) {
      progress(fmt::format("the nest did not boot within {} s (its console: {}): starting it again",
                           kBootBound.count(), dir.last_console()));
    }
    dir.remove_stale_files();
    static_cast<void>(std::rename(dir.console().c_str(), dir.last_console().c_str()));
  }
}

// With the start lock held and nothing alive.
Result<void> start_locked(const RuntimeDir& dir, FileLock alive, const Progress& progress) {
  dir.remove_stale_files();
  // Of a nest that crashed, for whoever wants to know how.
  static_cast<void>(std::rename(dir.console().c_str(), dir.last_console().c_str()));
  SPORE_ASSIGN(const BootFiles files, prepare_boot_files());
  NestMachine machine;
  machine.kernel = files.kernel.elf_path;
  machine.initramfs = files.initramfs;
  machine.console_log = dir.console();
  SPORE_ASSIGN(machine.memory_bytes, nest_memory());
  SPORE_ASSIGN(machine.idle_seconds, nest_idle_seconds());
  for (unsigned port = 0; port <= kClientPorts; ++port) {
    machine.port_sockets.push_back(dir.port_socket(port));
  }
  if (progress) {
    progress(fmt::format("starting the nest (an emulated KVM host: QEMU {}, {} MiB)",
                         files.qemu.version.text(), machine.memory_bytes >> 20));
  }
  auto process = boot_at_last(dir, files.qemu, machine, alive.fd(), progress);
  if (!process) {
    return fail(start_failed(dir, process.error()));
  }
  SPORE_TRY(write_state(dir, {.pid = process->pid(),
                              .started_at = std::time(nullptr),
                              .qemu = files.qemu.path,
                              .qemu_version = files.qemu.version.text(),
                              .kernel_release = files.kernel.release,
                              .memory_bytes = machine.memory_bytes,
                              .idle_seconds = machine.idle_seconds}));
  process->keep_running();
  return {};
}

Result<FileLock> take_start_lock(const RuntimeDir& dir, const Progress& progress) {
  SPORE_ASSIGN(auto lock, FileLock::take(dir.start_lock(), 0));
  if (!lock) {
    if (progress) {
      progress("waiting for the nest, which another program is starting or stopping");
    }
    SPORE_ASSIGN(lock, FileLock::take(dir.start_lock(), kStartLockMs));
  }
  if (!lock) {
    return fail(ErrorCode::kTimedOut,
                fmt::format("waiting for another program that starts or stops the nest: it still "
                            "holds {}",
                            dir.start_lock()));
  }
  return std::move(*lock);
}

// A free port's lock and its number; nullopt when all are taken.
Result<std::optional<std::pair<FileLock, unsigned>>> take_free_port(const RuntimeDir& dir) {
  // Each process begins elsewhere, so that a port has time to rest between two clients.
  const unsigned first = static_cast<unsigned>(getpid());
  for (unsigned i = 0; i < kClientPorts; ++i) {
    const unsigned port = 1 + (first + i) % kClientPorts;
    SPORE_ASSIGN(auto lock, FileLock::take(dir.port_lock(port), 0));
    if (lock) {
      return std::pair(std::move(*lock), port);
    }
  }
  return std::optional<std::pair<FileLock, unsigned>>();
}

Result<std::pair<FileLock, unsigned>> wait_for_port(const RuntimeDir& dir,
                                                    const Progress& progress) {
  const auto deadline = SteadyClock::now() + kPortBound;
  for (bool told = false;;) {
    SPORE_ASSIGN(auto port, take_free_port(dir));
    if (port) {
      return std::move(*port);
    }
    if (SteadyClock::now() >= deadline) {
      return fail(ErrorCode::kResourceExhausted,
                  fmt::format("connecting to the nest: all of its {} ports were taken for {} s; "
                              "end another client, or wait for it",
                              kClientPorts, kPortBound.count()));
    }
    if (!told && progress) {
      progress(fmt::format("waiting for one of the nest's {} ports", kClientPorts));
      told = true;
    }
    std::this_thread::sleep_for(milliseconds(50));
  }
}

// Asks the nest to end, then QEMU, then the kernel. The start lock is held.
Result<void> end_nest(const RuntimeDir& dir, const State& state) {
  auto pidfd = open_pidfd(state.pid);
  // The lock says that the nest lives: a pid that is not there means that it ended just now.
  if (!pidfd) {
    return {};
  }
  auto attached = Attachment::attach(dir.port_socket(kControlPort),
                                     {.deadline = SteadyClock::now() + milliseconds(kSignalMs),
                                      .reconnect_after = kReconnectInterval,
                                      .qemu_pidfd = pidfd->get()});
  if (attached) {
    static_cast<void>(attached->power_off());
    if (wait_ended(pidfd->get(), kPowerOffMs)) {
      return {};
    }
  }
  for (const int number : {SIGTERM, SIGKILL}) {
    syscall(SYS_pidfd_send_signal, pidfd->get(), number, nullptr, 0U);
    if (wait_ended(pidfd->get(), kSignalMs)) {
      return {};
    }
  }
  return fail(ErrorCode::kInternal,
              fmt::format("stopping the nest: QEMU (process {}) did not end", state.pid));
}

std::uint64_t resident_bytes(int pid) {
  std::ifstream file(fmt::format("/proc/{}/statm", pid));
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  file >> size >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

Result<bool> start(const Progress& progress) {
  SPORE_ASSIGN(const RuntimeDir dir, RuntimeDir::open());
  SPORE_ASSIGN(bool running, is_running(dir));
  if (running) {
    return false;
  }
  SPORE_ASSIGN(const FileLock lock, take_start_lock(dir, progress));
  SPORE_ASSIGN(running, is_running(dir));
  if (running) {
    return false;
  }
  // One that is alive without a state is being ended by the guardian of a starter that died.
  SPORE_ASSIGN(auto alive, FileLock::take(dir.alive_lock(), kPowerOffMs));
  if (!alive) {
    return fail(ErrorCode::kInternal,
                fmt::format("starting the nest: a QEMU that nobody finished starting still holds "
                            "{}; end it (it has that file open), then try again",
                            dir.alive_lock()));
  }
  SPORE_TRY(start_locked(dir, std::move(*alive), progress));
  return true;
}

Result<Connection> connect(const Progress& progress) {
  SPORE_ASSIGN(const RuntimeDir dir, RuntimeDir::open());
  constexpr int kAttempts = 3;
  Error last(ErrorCode::kInternal, "no attempt was made");
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    SPORE_TRY(start(progress));
    SPORE_ASSIGN(auto port, wait_for_port(dir, progress));
    auto attached = Attachment::attach(
        dir.port_socket(port.second),
        {.deadline = SteadyClock::now() + kAttachBound, .reconnect_after = kReconnectInterval});
    if (attached) {
      SPORE_ASSIGN(base::UniqueFd stream, attached->go());
      return Connection{.stream = std::move(stream), .port = std::move(port.first)};
    }
    last = attached.error();
    // It may have powered itself off, idle, between the look and the connection.
    if (last.code() != ErrorCode::kMachineEnded) {
      break;
    }
    std::this_thread::sleep_for(milliseconds(100));
  }
  return fail(last.with_context("connecting to the nest (`spore nest stop` ends a stuck one)"));
}

Result<bool> stop() {
  SPORE_ASSIGN(const RuntimeDir dir, RuntimeDir::open());
  SPORE_ASSIGN(const FileLock lock, take_start_lock(dir, {}));
  SPORE_ASSIGN(const bool alive, FileLock::is_held(dir.alive_lock()));
  const auto state = read_state(dir);
  if (alive && state) {
    SPORE_TRY(end_nest(dir, *state));
  }
  SPORE_ASSIGN(const auto released, FileLock::take(dir.alive_lock(), kSignalMs));
  if (!released) {
    return fail(ErrorCode::kInternal,
                fmt::format("stopping the nest: a process still holds {}", dir.alive_lock()));
  }
  dir.remove_stale_files();
  return alive;
}

Result<NestStatus> status() {
  SPORE_ASSIGN(const RuntimeDir dir, RuntimeDir::open());
  NestStatus status;
  status.runtime_dir = dir.path();
  SPORE_ASSIGN(status.running, is_running(dir));
  const auto state = read_state(dir);
  if (!status.running || !state) {
    status.running = false;
    return status;
  }
  status.pid = state->pid;
  status.started_at = state->started_at;
  status.qemu = state->qemu;
  status.qemu_version = state->qemu_version;
  status.kernel_release = state->kernel_release;
  status.memory_bytes = state->memory_bytes;
  status.idle_seconds = state->idle_seconds;
  status.resident_bytes = resident_bytes(state->pid);
  for (unsigned port = 1; port <= kClientPorts; ++port) {
    SPORE_ASSIGN(const bool held, FileLock::is_held(dir.port_lock(port)));
    status.clients += held ? 1 : 0;
  }
  return status;
}

Result<std::string> probe() {
  SPORE_ASSIGN(const BootFiles files, prepare_boot_files());
  return fmt::format("QEMU {} ({}) with kernel {}", files.qemu.version.text(), files.qemu.path,
                     files.kernel.release);
}

}  // namespace spore::nest
