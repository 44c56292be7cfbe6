#include "cli/machines/monitor_main.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <memory>
#include <thread>
#include <utility>

#include "cli/machines/frame_stream.h"
#include "cli/machines/launch.h"
#include "cli/machines/local_socket.h"
#include "cli/machines/monitor.h"
#include "cli/machines/registry.h"
#include "session/ended.h"

namespace spore::cli::machines {
namespace {

// Blocks the signals that end a monitor, in this thread and those to come, and reads them instead.
base::UniqueFd take_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    sigaddset(&signals, number);
  }
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return base::UniqueFd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

// While a boot keeps the main thread: ends this process, and removes its folder, when a signal
// comes or the creator goes. What runs in the engine goes with the process.
class BootWatch {
 public:
  BootWatch(const Registry& registry, const Folder& folder, int signals)
      : stop_(eventfd(0, EFD_CLOEXEC)), thread_([this, &registry, &folder, signals] {
          if (cancelled(signals)) {
            static_cast<void>(registry.remove_own(folder));
            _exit(EXIT_FAILURE);
          }
        }) {}
  BootWatch(const BootWatch&) = delete;
  BootWatch& operator=(const BootWatch&) = delete;
  ~BootWatch() {
    eventfd_write(stop_.get(), 1);
    thread_.join();
  }

 private:
  [[nodiscard]] bool cancelled(int signals) const {
    std::array<pollfd, 3> polled = {
        {{stop_.get(), POLLIN, 0}, {signals, POLLIN, 0}, {kCreatorFd, POLLIN, 0}}};
    while (poll(polled.data(), polled.size(), -1) < 0 && errno == EINTR) {
    }
    return polled[0].revents == 0;
  }

  const base::UniqueFd stop_;
  std::thread thread_;
};

struct Served {
  std::unique_ptr<Session> session;
  std::unique_ptr<Monitor> monitor;  // goes before its session
};

Result<std::unique_ptr<Machine>> make_machine(Session& session, const CreateMessage& order,
                                              const std::function<void(std::string_view)>& progress,
                                              MonitorRecord& record) {
  if (order.spore.empty()) {
    progress("booting a machine");
    return session.boot(order.config);
  }
  progress("loading the spore");
  SPORE_ASSIGN(const auto spore, session.load(order.spore));
  record.memory_bytes = spore->loaded()->memory_bytes;
  record.cpus = spore->loaded()->cpus;
  ForkParameters parameters = spore->loaded()->fork.value_or(ForkParameters{});
  if (!spore->loaded()->fork) {
    parameters.name = parameters.hostname = order.config.hostname;
  }
  SPORE_ASSIGN(auto machines, spore->fork({parameters}));
  return std::move(machines.front());
}

Result<Served> boot(const CreateMessage& order, const Folder& folder, FrameStream& creator,
                    MonitorRecord& record) {
  const auto progress = [&creator](std::string_view what) {
    static_cast<void>(creator.send(MonitorFrame::kProgress, what.substr(0, kMaxPart)));
  };
  SPORE_TRY(folder.write_record(record));
  Served served;
  SPORE_ASSIGN(served.session, open_session({.engine = order.engine, .progress = progress}));
  SPORE_ASSIGN(auto machine, make_machine(*served.session, order, progress, record));
  SPORE_ASSIGN(auto listener, listen_at(folder.path(), "socket"));
  record.engine = served.session->engine();
  record.generation = machine->generation().id;
  SPORE_TRY(folder.write_record(record));
  served.monitor = std::make_unique<Monitor>(std::move(machine), std::move(listener));
  return served;
}

// Tells of the end in the folder, then to the clients.
Result<void> leave_ended(Monitor& monitor, const Folder& folder, MonitorRecord record) {
  const MachineEnd end = monitor.machine().ended().value_or(session::closed_end());
  auto console = folder.write_console(monitor.machine().console_tail());
  record.ended = true;
  record.spore = monitor.suspended_to();
  record.end_reason = to_string(end.reason);
  record.end = session::describe_end(end);
  SPORE_TRY(folder.write_record(record));
  ::unlink((folder.path() + "/socket").c_str());
  monitor.finish_clients();
  return console;
}

// It could not be resumed: it is as it was.
Result<void> leave_suspended(const CreateMessage& order, const Folder& folder,
                             MonitorRecord record) {
  record.ended = true;
  record.engine = order.engine;
  record.spore = order.spore;
  record.end_reason = to_string(EndReason::kClosed);
  record.end = "the machine is suspended";
  return folder.write_record(record);
}

MonitorRecord first_record(const CreateMessage& order) {
  const MachineConfig& config = order.config;
  MonitorRecord record;
  if (order.resumed) {
    record.spore = order.spore;
  }
  record.pid = ::getpid();
  record.pid_start_time = process_start_time(::getpid()).value_or(0);
  record.created = std::time(nullptr);
  record.memory_bytes = config.memory_bytes;
  record.cpus = config.cpus;
  return record;
}

Result<CreateMessage> receive_order(FrameStream& creator) {
  SPORE_ASSIGN(const auto frame, creator.receive());
  if (!frame || type_of(*frame) != MonitorFrame::kCreate) {
    return fail(ErrorCode::kInvalidArgument,
                "starting a monitor: its creator ordered no machine; use `spore create`");
  }
  return wire::from_cbor<CreateMessage>(frame->payload);
}

Result<void> serve_machine(Served& served, const Registry& registry, const Folder& folder,
                           const MonitorRecord& record, int signals) {
  SPORE_ASSIGN(const auto outcome, served.monitor->run(signals));
  if (outcome == Monitor::Outcome::kMachineEnded) {
    return leave_ended(*served.monitor, folder, record);
  }
  served.monitor.reset();
  served.session.reset();
  return registry.remove_own(folder);
}

Result<void> monitor() {
  const base::UniqueFd signals = take_signals();
  for (const int fd : {kCreatorFd, kAliveFd}) {
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
      return fail(ErrorCode::kInvalidArgument,
                  "starting a monitor: it is no command for people; use `spore create`");
    }
  }
  // The watch needs the descriptor itself after the stream took it over.
  SPORE_ASSIGN(auto creator,
               FrameStream::create(base::UniqueFd(fcntl(kCreatorFd, F_DUPFD_CLOEXEC, 0))));
  SPORE_ASSIGN(const CreateMessage order, receive_order(*creator));
  const Folder folder(order.folder);
  SPORE_ASSIGN(const Registry registry,
               Registry::open_at(std::filesystem::path(order.folder).parent_path().string()));
  MonitorRecord record = first_record(order);
  Result<Served> served = Served();
  {
    const BootWatch watch(registry, folder, signals.get());
    served = boot(order, folder, *creator, record);
  }
  // A creator that is gone by now gets no machine.
  const bool told = served ? creator->send(MonitorFrame::kDone, {}).has_value()
                           : creator->send_error(served.error()).has_value();
  creator.reset();
  ::close(kCreatorFd);
  if (!served || !told) {
    SPORE_TRY(order.resumed ? leave_suspended(order, folder, record) : registry.remove_own(folder));
    return served ? Result<void>() : fail(served.error());
  }
  static_cast<void>(!::chdir("/"));  // no file system is kept from being unmounted
  return serve_machine(*served, registry, folder, record, signals.get());
}

}  // namespace

int run_monitor() {
  const auto done = monitor();
  if (!done) {
    fmt::print(stderr, "spore: {}\n", done.error().message());
  }
  return done ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace spore::cli::machines
