#include "cli/machines/launch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "base/files.h"
#include "cli/machines/frame_stream.h"

extern char** environ;

namespace spore::cli::machines {
namespace {

constexpr int kEndMs = 30'000;
constexpr int kFirstCopy = 64;
constexpr std::uint64_t kMaxLogBytes = 4096;

// A started monitor, until it is let go; it is ended and reaped otherwise.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  Child& operator=(Child&&) = delete;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) {
      wait_for_end();
    }
  }
  void let_go() { pid_ = -1; }

 private:
  // It ends by itself once its creator's socket is closed.
  void wait_for_end() const {
    const base::UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
    pollfd ended{fd.get(), POLLIN, 0};
    if (!fd.valid() || poll(&ended, 1, kEndMs) <= 0) {
      kill(pid_, SIGKILL);
    }
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  pid_t pid_;
};

class SpawnPlan {
 public:
  SpawnPlan() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    sigset_t all;
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

Result<Child> start_monitor(const std::string& name, const Claim& claim, int creator) {
  // Copies above the numbers that the monitor uses, so that none overwrites another's source.
  const base::UniqueFd creator_copy(fcntl(creator, F_DUPFD_CLOEXEC, kFirstCopy));
  const base::UniqueFd alive_copy(fcntl(claim.alive.fd(), F_DUPFD_CLOEXEC, kFirstCopy));
  const std::string log = claim.folder.monitor_log();
  SpawnPlan plan;
  posix_spawn_file_actions_addopen(&plan.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&plan.actions, STDOUT_FILENO, log.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
  posix_spawn_file_actions_adddup2(&plan.actions, STDOUT_FILENO, STDERR_FILENO);
  posix_spawn_file_actions_adddup2(&plan.actions, creator_copy.get(), kCreatorFd);
  posix_spawn_file_actions_adddup2(&plan.actions, alive_copy.get(), kAliveFd);
  posix_spawn_file_actions_addclosefrom_np(&plan.actions, kAliveFd + 1);
  std::array<std::string, 3> words = {"spore", "monitor", name};
  std::array<char*, 4> argv = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  pid_t pid = -1;
  const int error =
      posix_spawn(&pid, "/proc/self/exe", &plan.actions, &plan.attributes, argv.data(), environ);
  if (error != 0) {
    return fail(Error::from_errno(error, fmt::format("starting the monitor of machine {}", name)));
  }
  return Child(pid);
}

Result<void> order_machine(FrameStream& stream, const CreateOrder& order, bool resumed,
                           const Folder& folder,
                           const std::function<void(std::string_view)>& progress) {
  const std::string attempted =
      fmt::format("{} machine {}", resumed ? "resuming" : "creating", order.name);
  SPORE_TRY(stream.send(MonitorFrame::kCreate,
                        wire::to_cbor(CreateMessage{folder.path(), order.engine, order.config,
                                                    order.spore, resumed})));
  for (;;) {
    SPORE_ASSIGN(const auto frame, stream.receive());
    if (!frame) {
      const auto log = base::read_file(folder.monitor_log(), kMaxLogBytes);
      return fail(ErrorCode::kInternal,
                  fmt::format("{}: its monitor ended unexpectedly{}{}", attempted,
                              log && !log->empty() ? "; it said: " : "", log ? *log : ""));
    }
    switch (type_of(*frame)) {
      case MonitorFrame::kProgress:
        progress(frame->payload);
        break;
      case MonitorFrame::kDone:
        return {};
      case MonitorFrame::kError:
        return fail(error_of(*frame));
      default:
        return fail(senseless(attempted, *frame));
    }
  }
}

// Starts the monitor and waits until its machine runs. The claim goes over to it.
Result<void> launch(const CreateOrder& order, bool resumed, std::optional<Claim>& claim,
                    const std::function<void(std::string_view)>& progress) {
  const Folder folder = claim->folder;
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(Error::from_errno(errno, "making a socket pair for a monitor"));
  }
  base::UniqueFd ours(ends[0]);
  base::UniqueFd theirs(ends[1]);
  SPORE_ASSIGN(Child child, start_monitor(order.name, *claim, theirs.get()));
  theirs.reset();
  claim.reset();  // the monitor holds the lock now
  SPORE_ASSIGN(const auto stream, FrameStream::create(std::move(ours)));
  SPORE_TRY(order_machine(*stream, order, resumed, folder, progress));
  child.let_go();
  return {};
}

}  // namespace

Result<Entry> create_machine(const Registry& registry, const CreateOrder& order,
                             const std::function<void(std::string_view)>& progress) {
  SPORE_ASSIGN(auto claimed, registry.claim(order.name));
  std::optional<Claim> claim(std::move(claimed));
  if (const auto launched = launch(order, /*resumed=*/false, claim, progress); !launched) {
    claim.reset();
    // The monitor does it itself, unless it died.
    static_cast<void>(registry.remove(order.name, 0));
    return fail(launched.error());
  }
  return registry.find(order.name);
}

Result<Entry> resume_machine(const Registry& registry, const std::string& name,
                             const std::function<void(std::string_view)>& progress) {
  SPORE_ASSIGN(const Entry entry, registry.find(name));
  SPORE_ASSIGN(auto claimed, registry.claim_suspended(name));
  std::optional<Claim> claim(std::move(claimed));
  CreateOrder order{name, entry.record->engine, {}, entry.record->spore};
  if (order.engine.empty()) {
    order.engine = "auto";  // a monitor died before it had resumed it
  }
  order.config.memory_bytes = entry.record->memory_bytes;
  order.config.cpus = entry.record->cpus;
  order.config.hostname = name;
  SPORE_TRY(launch(order, /*resumed=*/true, claim, progress));
  return registry.find(name);
}

}  // namespace spore::cli::machines
