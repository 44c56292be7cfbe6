#include "agent/processes.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "agent/log.h"
#include "agent/spawn.h"
#include "agent/streams.h"

namespace spore::agent {

using wire::AgentFrame;

struct ManagedProcess {
  ManagedProcess(Poller& poller, ControlStream& control, std::uint64_t process_id)
      : id(process_id),
        in(poller, control, 0, process_id),
        channel_in(poller, control, 3, process_id),
        out(poller, control, AgentFrame::kStdout, process_id),
        err(poller, control, AgentFrame::kStderr, process_id),
        channel_out(poller, control, AgentFrame::kChannelOut, process_id) {}

  [[nodiscard]] std::array<OutputStream*, 3> outputs() { return {&out, &err, &channel_out}; }

  std::uint64_t id;
  pid_t pid = -1;
  bool terminal = false;
  int terminal_fd = -1;  // borrowed from `out`
  std::optional<int> wait_status;
  InputStream in;
  InputStream channel_in;
  OutputStream out;
  OutputStream err;
  OutputStream channel_out;
};

ProcessTable::ProcessTable(Poller& poller, ControlStream& control, Cgroups* cgroups)
    : poller_(poller), control_(control), cgroups_(cgroups) {}

ProcessTable::~ProcessTable() {
  for (const auto& [fd, owner] : discarded_) {
    poller_.forget(fd);
  }
}

ManagedProcess* ProcessTable::find(std::uint64_t id) const {
  const auto found = processes_.find(id);
  return found == processes_.end() ? nullptr : found->second.get();
}

// ---- starting
// -------------------------------------------------------------------------------------

void ProcessTable::exec(std::uint64_t id, std::string_view payload) {
  const auto refuse = [&](int error_number, const std::string& message) {
    control_.send_message(AgentFrame::kStartFailed, id,
                          wire::StartFailedMessage{error_number, message});
  };
  const auto request = wire::from_cbor<wire::ExecMessage>(payload);
  if (!request) {
    return refuse(EINVAL, "starting a program: " + request.error().message());
  }
  if (id == 0 || processes_.contains(id)) {
    return refuse(EEXIST, "starting a program: the process id is 0 or in use");
  }
  if (paused_) {
    return refuse(EBUSY, "starting a program: the machine is about to be captured; wait for that");
  }
  std::string cgroup_procs;
  if (cgroups_ != nullptr) {
    auto group = cgroups_->add(id);
    if (!group) {
      return refuse(EIO, "starting a program: " + group.error().message());
    }
    cgroup_procs = std::move(*group);
  }
  auto spawned = spawn(*request, cgroup_procs);
  if (!spawned) {
    if (cgroups_ != nullptr) {
      cgroups_->remove(id);
    }
    return refuse(spawned.error().error_number, spawned.error().message);
  }
  auto process = std::make_unique<ManagedProcess>(poller_, control_, id);
  process->pid = spawned->pid;
  process->terminal = request->terminal;
  process->terminal_fd = request->terminal ? spawned->out.get() : -1;
  control_.send_message(AgentFrame::kStarted, id, wire::StartedMessage{process->pid});
  const auto check = [this, id] { report_if_over(id); };
  process->in.open(std::move(spawned->in), request->terminal
                                               ? InputStream::Ending::kEndOfFileCharacter
                                               : InputStream::Ending::kClose);
  process->channel_in.open(std::move(spawned->channel_in), InputStream::Ending::kShutdown);
  // A test framework says on the channel which test runs, and the test prints.
  process->out.open(std::move(spawned->out), check, &process->channel_out);
  process->err.open(std::move(spawned->err), check, &process->channel_out);
  process->channel_out.open(std::move(spawned->channel_out), check);
  by_pid_[process->pid] = id;
  processes_[id] = std::move(process);
}

// ---- while it runs
// --------------------------------------------------------------------------------

void ProcessTable::input(std::uint64_t id, bool channel, std::string_view bytes) {
  auto* process = find(id);
  if (process == nullptr) {
    return;
  }
  auto& stream = channel ? process->channel_in : process->in;
  if (!stream.write(bytes)) {
    control_.close("the host sent more input than the window allows");
  }
}

void ProcessTable::end_input(std::uint64_t id, bool channel) {
  if (auto* process = find(id)) {
    (channel ? process->channel_in : process->in).end();
  }
}

void ProcessTable::signal(std::uint64_t id, int number) {
  const auto* process = find(id);
  if (process == nullptr || number <= 0 || number >= NSIG) {
    return;
  }
  if (cgroups_ != nullptr) {
    cgroups_->signal(id, number);
  } else if (!process->wait_status) {
    ::kill(-process->pid, number);
  }
}

void ProcessTable::resize(std::uint64_t id, const wire::ResizeMessage& message) {
  const auto* process = find(id);
  if (process == nullptr || !process->terminal || !process->out.is_open()) {
    return;
  }
  winsize size{};
  size.ws_row = message.rows;
  size.ws_col = message.columns;
  ::ioctl(process->terminal_fd, TIOCSWINSZ, &size);
}

void ProcessTable::acknowledge(std::uint64_t id, const wire::WindowMessage& message) {
  auto* process = find(id);
  if (process == nullptr || message.stream < 1 || message.stream > 3) {
    return;
  }
  auto& stream = *process->outputs()[message.stream - 1U];
  stream.acknowledge(message.bytes);
  stream.update(paused_);
  report_if_over(id);
}

void ProcessTable::pump_all() {
  for (const auto& [id, process] : processes_) {
    for (auto* stream : process->outputs()) {
      stream->pump();
    }
  }
}

void ProcessTable::set_paused(bool paused) {
  paused_ = paused;
  resume_output();
}

void ProcessTable::resume_output() {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, process] : processes_) {
    for (auto* stream : process->outputs()) {
      stream->update(paused_);
    }
    ids.push_back(id);
  }
  for (const auto id : ids) {
    report_if_over(id);
  }
}

std::optional<std::uint64_t> ProcessTable::id_of(pid_t pid) const {
  const auto found = by_pid_.find(pid);
  return found == by_pid_.end() ? std::nullopt : std::optional(found->second);
}

// ---- its end
// --------------------------------------------------------------------------------------

void ProcessTable::on_reaped(pid_t pid, int wait_status) {
  const auto found = by_pid_.find(pid);
  if (found == by_pid_.end()) {
    return;
  }
  const std::uint64_t id = found->second;
  by_pid_.erase(found);
  auto& process = *processes_.at(id);
  process.wait_status = wait_status;
  process.in.close();
  process.channel_in.close();
  if (!paused_) {
    for (auto* stream : process.outputs()) {
      stream->close_when_empty();
    }
    report_if_over(id);
  }
}

void ProcessTable::report_if_over(std::uint64_t id) {
  auto* process = find(id);
  if (process == nullptr) {
    return;
  }
  bool open = false;
  for (auto* stream : process->outputs()) {
    if (process->wait_status && !paused_) {
      stream->close_when_empty();
    }
    stream->update(paused_);
    open = open || stream->is_open();
  }
  if (!process->wait_status || open || paused_) {
    return;
  }
  const int status = *process->wait_status;
  wire::ExitedMessage message;
  message.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  message.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  message.out_of_memory = cgroups_ != nullptr && cgroups_->ran_out_of_memory(id);
  control_.send_message(AgentFrame::kExited, id, message);
  if (!process->terminal) {
    discard_rest(process->out.release());
    discard_rest(process->err.release());
  }
  if (cgroups_ != nullptr) {
    cgroups_->remove(id);
  }
  processes_.erase(id);
}

// A daemon that was left behind must not die of SIGPIPE because nobody reads its log.
void ProcessTable::discard_rest(base::UniqueFd fd) {
  if (!fd.valid()) {
    return;
  }
  const int number = fd.get();
  discarded_[number] = std::move(fd);
  poller_.watch(number, EPOLLIN, [this, number](std::uint32_t) {
    std::array<char, 16 * 1024> buffer;
    const auto got = ::read(number, buffer.data(), buffer.size());
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
      poller_.forget(number);
      discarded_.erase(number);
    }
  });
}

}  // namespace spore::agent
