#include "support/fake_session.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/unique_fd.h"

namespace spore::testing {
namespace {

constexpr std::size_t kBlock = 64 * 1024;
constexpr int kFixtureFd = 9;
constexpr int kDescriptors = 4;
constexpr const char* kNumberFile = "/number";

using Descriptor = base::UniqueFd;

struct Pipe {
  Descriptor read;
  Descriptor write;
};

Pipe make_pipe() {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) {
    std::abort();
  }
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

class FakeProcess : public Process {
 public:
  FakeProcess(std::uint32_t id, Descriptor out, Descriptor errors)
      : id_(id),
        out_(std::move(out)),
        errors_(std::move(errors)),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~FakeProcess() override { kill_all(); }

  [[nodiscard]] std::uint32_t id() const noexcept override { return id_; }

  std::optional<ProcessEvent> next_event(std::optional<Milliseconds> timeout) override {
    const std::lock_guard lock(mutex_);
    const auto deadline = std::chrono::steady_clock::now() + timeout.value_or(Milliseconds{0});
    for (;;) {
      if (last_) {
        return last_;
      }
      int wait = -1;
      if (timeout) {
        const auto left =
            std::chrono::duration_cast<Milliseconds>(deadline - std::chrono::steady_clock::now());
        wait = static_cast<int>(std::max<std::int64_t>(0, left.count()));
      }
      pollfd polled[] = {{wake_.get(), POLLIN, 0},
                         {out_.get(), POLLIN, 0},
                         {errors_.get(), POLLIN, 0},
                         {poll_fixture_ ? fixture_.get() : -1, POLLIN, 0}};
      const int ready = poll(polled, std::size(polled), wait);
      if (is_lost_) {
        last_ = Lost{lost_};
        continue;
      }
      if (ready == 0) {
        return std::nullopt;
      }
      if (auto event = take(polled[1].revents, polled[2].revents, polled[3].revents)) {
        return event;
      }
    }
  }

  Result<void> write_stdin(std::string_view data) override {
    if (write(input_.get(), data.data(), data.size()) < 0) {
      return fail(Error::from_errno(errno, "writing to the process"));
    }
    return {};
  }
  Result<void> close_stdin() override {
    input_.reset();
    return {};
  }
  Result<void> write_channel(std::string_view) override { return no_channel(); }
  Result<void> close_channel() override { return no_channel(); }
  Result<void> signal(int number) override {
    if (pid_ > 0) {
      ::kill(-pid_, number);
    }
    return {};
  }
  Result<void> resize(std::uint16_t, std::uint16_t) override { return {}; }
  Result<void> release_fixture_point() override {
    if (send(fixture_.get(), "R", 1, MSG_NOSIGNAL) != 1) {
      return fail(Error::from_errno(errno, "releasing the process"));
    }
    return {};
  }

  void lose(const MachineEnd& end) {
    if (is_lost_) {
      return;
    }
    lost_ = end;
    is_lost_ = true;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = write(wake_.get(), &one, sizeof one);
    if (pid_ > 0) {
      ::kill(-pid_, SIGKILL);
    }
  }

  // Its own process, or (with a status pipe) one forked at a fixture point.
  pid_t pid_ = -1;  // leads a process group
  Descriptor input_;
  Descriptor fixture_;
  Descriptor status_;

 private:
  static Result<void> no_channel() {
    return fail(ErrorCode::kUnavailable, "a fake process has no channel");
  }

  std::optional<ProcessEvent> take(short out, short errors, short fixture) {
    if (out != 0) {
      if (auto event = take_output(out_, OutputStream::kStdout)) {
        return event;
      }
    }
    if (errors != 0) {
      if (auto event = take_output(errors_, OutputStream::kStderr)) {
        return event;
      }
    }
    if ((fixture & POLLIN) != 0) {
      char byte = 0;
      if (recv(fixture_.get(), &byte, 1, MSG_DONTWAIT) == 1) {
        return AtFixturePoint{};
      }
    }
    if (fixture != 0) {
      poll_fixture_ = false;
    }
    if (out_.get() < 0 && errors_.get() < 0) {
      last_ = wait_for_end();
      return last_;
    }
    return std::nullopt;
  }

  static std::optional<ProcessEvent> take_output(Descriptor& from, OutputStream stream) {
    std::string data(kBlock, '\0');
    const ssize_t length = read(from.get(), data.data(), data.size());
    if (length <= 0) {
      from.reset();
      return std::nullopt;
    }
    data.resize(static_cast<std::size_t>(length));
    return Output{stream, std::move(data)};
  }

  Exited wait_for_end() {
    int status = 0;
    if (status_.get() >= 0) {
      if (read(status_.get(), &status, sizeof status) != sizeof status) {
        status = SIGKILL;
      }
    } else {
      while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
      }
    }
    over_ = true;
    return WIFSIGNALED(status) ? Exited{.signal = WTERMSIG(status)}
                               : Exited{.code = WEXITSTATUS(status)};
  }

  void kill_all() {
    if (pid_ > 0 && !over_) {
      ::kill(-pid_, SIGKILL);
      if (status_.get() < 0) {
        waitpid(pid_, nullptr, 0);
      }
    }
  }

  const std::uint32_t id_;
  Descriptor out_;
  Descriptor errors_;
  Descriptor wake_;
  std::mutex mutex_;
  std::optional<ProcessEvent> last_;
  MachineEnd lost_;
  std::atomic<bool> is_lost_{false};
  bool poll_fixture_ = true;
  std::atomic<bool> over_{false};
};

std::vector<std::string> environment(const ExecRequest& request) {
  std::map<std::string, std::string> all = {{"PATH", "/usr/bin:/bin"}, {"HOME", "/tmp"}};
  for (const auto& [name, value] : request.env) {
    all[name] = value;
  }
  all["SPORE_FAKE_FIXTURE_FD"] = std::to_string(kFixtureFd);
  std::vector<std::string> entries;
  for (const auto& [name, value] : all) {
    entries.push_back(name + "=" + value);
  }
  return entries;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) {
    result.push_back(text.data());
  }
  result.push_back(nullptr);
  return result;
}

Result<std::shared_ptr<FakeProcess>> start(std::uint32_t id, const ExecRequest& request) {
  Pipe in = make_pipe();
  Pipe out = make_pipe();
  Pipe errors = make_pipe();
  Pipe failure = make_pipe();
  int sockets[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return fail(Error::from_errno(errno, "making a socket pair"));
  }
  Descriptor ours(sockets[0]);
  Descriptor theirs(sockets[1]);
  std::vector<std::string> argv = request.argv;
  std::vector<std::string> env = environment(request);
  const auto argv_pointers = pointers(argv);
  const auto env_pointers = pointers(env);
  const pid_t pid = fork();
  if (pid == 0) {
    setsid();
    dup2(in.read.get(), STDIN_FILENO);
    dup2(out.write.get(), STDOUT_FILENO);
    dup2(errors.write.get(), STDERR_FILENO);
    dup2(theirs.get(), kFixtureFd);
    if (chdir(request.workdir.c_str()) == 0) {
      execvpe(argv_pointers[0], argv_pointers.data(), env_pointers.data());
    }
    const int number = errno;
    [[maybe_unused]] const auto told = write(failure.write.get(), &number, sizeof number);
    _exit(127);
  }
  in.read.reset();
  out.write.reset();
  errors.write.reset();
  failure.write.reset();
  int number = 0;
  if (read(failure.read.get(), &number, sizeof number) == sizeof number) {
    waitpid(pid, nullptr, 0);
    return fail(Error::from_errno(number, "running " + request.argv.front()));
  }
  auto process = std::make_shared<FakeProcess>(id, std::move(out.read), std::move(errors.read));
  process->pid_ = pid;
  process->input_ = std::move(in.write);
  process->fixture_ = std::move(ours);
  return process;
}

struct Shared {
  std::shared_ptr<FakeLog> log;
  std::map<std::uint32_t, std::shared_ptr<FakeProcess>> captured;  // keeps them waiting
};

// Asks a process that waits at its fixture point to fork.
std::shared_ptr<FakeProcess> fork_process(const FakeProcess& captured,
                                          const ForkParameters& parameters) {
  Pipe out = make_pipe();
  Pipe errors = make_pipe();
  Pipe status = make_pipe();
  const std::string text = "C" + nlohmann::json{{"shard_index", parameters.shard_index},
                                                {"shard_count", parameters.shard_count},
                                                {"user", parameters.user}}
                                     .dump();
  int sockets[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    std::abort();
  }
  Descriptor ours(sockets[0]);
  const Descriptor theirs(sockets[1]);
  const int descriptors[kDescriptors] = {out.write.get(), errors.write.get(), status.write.get(),
                                         theirs.get()};
  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof descriptors)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof descriptors);
  std::memcpy(CMSG_DATA(header), descriptors, sizeof descriptors);
  sendmsg(captured.fixture_.get(), &message, MSG_NOSIGNAL);
  out.write.reset();
  errors.write.reset();
  status.write.reset();
  auto process =
      std::make_shared<FakeProcess>(captured.id(), std::move(out.read), std::move(errors.read));
  if (read(status.read.get(), &process->pid_, sizeof(pid_t)) != sizeof(pid_t)) {
    process->pid_ = -1;
  }
  process->status_ = std::move(status.read);
  process->fixture_ = std::move(ours);
  return process;
}

class FakeMachine;

class FakeSpore : public Spore {
 public:
  explicit FakeSpore(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  Result<std::vector<std::unique_ptr<Machine>>> fork(
      const std::vector<ForkParameters>& children) override;
  Result<std::unique_ptr<Machine>> reset(Machine& used, const ForkParameters& child) override;
  [[nodiscard]] const Generation& generation() const noexcept override { return generation_; }
  [[nodiscard]] const CaptureTimings& timings() const noexcept override { return timings_; }
  Result<SavedSpore> save(const std::string& path, const SaveOptions&) override {
    const std::lock_guard lock(shared_->log->mutex);
    const std::string number = std::to_string(shared_->log->saved.size());
    if (!std::filesystem::create_directory(path) ||
        !(std::ofstream(path + kNumberFile) << number)) {
      return fail(ErrorCode::kUnavailable, "saving a fake spore to " + path);
    }
    shared_->log->saved[number] = std::make_shared<FakeSpore>(shared_);
    return SavedSpore{.id = number, .path = path, .parent = ""};
  }
  [[nodiscard]] const std::optional<LoadedSpore>& loaded() const noexcept override {
    return loaded_;
  }
  [[nodiscard]] std::vector<std::uint32_t> processes() const override { return {}; }

 private:
  std::shared_ptr<Shared> shared_;
  std::optional<LoadedSpore> loaded_;
  Generation generation_;
  CaptureTimings timings_;
};

class FakeMachine : public Machine {
 public:
  FakeMachine(std::shared_ptr<FakeLog> log, Generation generation)
      : log_(std::move(log)), generation_(std::move(generation)) {
    const int open = ++log_->open_machines;
    for (int most = log_->most_open; most < open;) {
      log_->most_open.compare_exchange_weak(most, open);
    }
  }
  ~FakeMachine() override {
    close();
    --log_->open_machines;
  }

  Result<std::shared_ptr<Process>> exec(const ExecRequest& request) override {
    {
      const std::lock_guard lock(log_->mutex);
      log_->executed.push_back(request);
    }
    const std::lock_guard lock(mutex_);
    SPORE_ASSIGN(auto process, start(next_id_, request));
    processes_[next_id_++] = process;
    return process;
  }

  std::shared_ptr<Process> process(std::uint32_t id) override {
    const std::lock_guard lock(mutex_);
    const auto found = processes_.find(id);
    return found == processes_.end() ? nullptr : found->second;
  }

  Result<std::shared_ptr<Spore>> capture(const CaptureOptions& options) override {
    const std::lock_guard lock(mutex_);
    auto shared = std::make_shared<Shared>();
    shared->log = log_;
    if (options.keep_running) {  // no process of the host can be in two places
      return std::make_shared<FakeSpore>(shared);
    }
    shared->captured = std::exchange(processes_, {});
    return std::make_shared<FakeSpore>(shared);
  }

  [[nodiscard]] const Generation& generation() const noexcept override { return generation_; }
  [[nodiscard]] std::optional<MachineEnd> ended() const override { return std::nullopt; }
  Result<MachineStats> stats() override {
    return MachineStats{
        .memory_bytes = 512 * kMiB,
        .private_bytes = log_->private_bytes + log_->growth_per_reset * log_->resets,
        .shared_bytes = kMiB};
  }
  [[nodiscard]] std::string console_tail() override { return ""; }
  [[nodiscard]] const BootTimings& boot_timings() const noexcept override { return boot_; }
  [[nodiscard]] const ForkTimings& fork_timings() const noexcept override { return fork_; }
  void close() override {
    lose({.reason = EndReason::kClosed, .detail = "closed", .console_tail = ""});
  }
  void lose(const MachineEnd& end) {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, process] : processes_) {
      process->lose(end);
    }
  }

  void adopt(std::uint32_t id, std::shared_ptr<FakeProcess> process) {
    processes_[id] = std::move(process);
    next_id_ = std::max(next_id_, id + 1);
  }

 private:
  std::shared_ptr<FakeLog> log_;
  Generation generation_;
  BootTimings boot_;
  ForkTimings fork_;
  std::mutex mutex_;
  std::map<std::uint32_t, std::shared_ptr<FakeProcess>> processes_;
  std::uint32_t next_id_ = 1;
};

Result<std::vector<std::unique_ptr<Machine>>> FakeSpore::fork(
    const std::vector<ForkParameters>& children) {
  std::vector<std::unique_ptr<Machine>> machines;
  const std::lock_guard lock(shared_->log->mutex);
  for (const ForkParameters& parameters : children) {
    shared_->log->forked.push_back(parameters);
    Generation generation;
    generation.number = 1;
    generation.parameters = parameters;
    auto machine = std::make_unique<FakeMachine>(shared_->log, generation);
    for (const auto& [id, process] : shared_->captured) {
      if (process->fixture_.get() >= 0) {
        machine->adopt(id, fork_process(*process, parameters));
      }
    }
    if (shared_->log->panics > 0) {
      --shared_->log->panics;
      machine->lose(
          {.reason = EndReason::kPanicked, .detail = "for a test", .console_tail = "its end"});
    }
    machines.push_back(std::move(machine));
  }
  return machines;
}

Result<std::unique_ptr<Machine>> FakeSpore::reset(Machine& used, const ForkParameters& child) {
  used.close();
  SPORE_ASSIGN(auto machines, fork(std::vector<ForkParameters>{child}));
  ++shared_->log->resets;
  return std::move(machines.front());
}

}  // namespace

FakeSession::FakeSession() : log_(std::make_shared<FakeLog>()) {}

FakeSession::~FakeSession() {
  std::map<std::string, std::shared_ptr<Spore>> saved;  // they refer to the log that has them
  const std::lock_guard lock(log_->mutex);
  saved.swap(log_->saved);
}

Result<std::shared_ptr<Spore>> FakeSession::load(const std::string& path, const LoadOptions&) {
  std::string number;
  std::ifstream(path + kNumberFile) >> number;
  const std::lock_guard lock(log_->mutex);
  const auto found = log_->saved.find(number);
  if (found == log_->saved.end()) {
    return fail(ErrorCode::kCorrupt, "loading the fake spore " + path);
  }
  return found->second;
}

Result<std::unique_ptr<Machine>> FakeSession::boot(const MachineConfig& config, Milliseconds) {
  const std::lock_guard lock(log_->mutex);
  log_->booted.push_back(config);
  return std::make_unique<FakeMachine>(log_, Generation{});
}

}  // namespace spore::testing
