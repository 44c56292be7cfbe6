#include "cli/run_capture.h"

#include <fmt/format.h>

#include <charconv>
#include <csignal>
#include <system_error>
#include <utility>

#include "cli/run_arguments.h"

namespace spore::cli {
namespace {

constexpr std::size_t kMaxLine = 64 * 1024;
constexpr Milliseconds kPortInterval{100};
// Of a socket that listens, in /proc/net/tcp (include/net/tcp_states.h).
constexpr std::string_view kListening = "0A";

// Whether a table of /proc/net/tcp has a listener on `port`.
bool has_listener(std::string_view table, std::uint16_t port) {
  const std::string wanted = fmt::format(":{:04X} ", port);
  while (!table.empty()) {
    const std::string_view line = table.substr(0, table.find('\n'));
    table.remove_prefix(std::min(table.size(), line.size() + 1));
    // "sl: LOCAL:PORT REMOTE:PORT STATE …"
    const auto local = line.find(wanted);
    const auto state = local == line.npos ? line.npos : line.find(' ', local + wanted.size());
    if (state != line.npos && line.substr(state + 1).starts_with(kListening)) {
      return true;
    }
  }
  return false;
}

std::string output_of(Process& process) {
  std::string text;
  while (const auto event = process.next_event(std::nullopt)) {
    if (const auto* output = std::get_if<Output>(&*event)) {
      text += output->data;
    } else if (!std::holds_alternative<AtFixturePoint>(*event)) {
      break;
    }
  }
  return text;
}

}  // namespace

Result<CaptureTrigger> parse_trigger(std::string_view word) {
  using Kind = CaptureTrigger::Kind;
  CaptureTrigger trigger;
  const auto colon = word.find(':');
  const std::string_view name = word.substr(0, colon);
  const std::string_view value = colon == word.npos ? std::string_view() : word.substr(colon + 1);
  if (word == "exit" || word == "fixture") {
    trigger.kind = word == "exit" ? Kind::kExit : Kind::kFixture;
    return trigger;
  }
  if (word == "usr1" || word == "usr2") {
    trigger.kind = Kind::kSignal;
    trigger.signal = word == "usr1" ? SIGUSR1 : SIGUSR2;
    return trigger;
  }
  if (name == "after") {
    trigger.kind = Kind::kAfter;
    SPORE_ASSIGN(trigger.after, parse_duration(value, "--capture-on after:"));
    return trigger;
  }
  if (name == "line" && !value.empty()) {
    trigger.kind = Kind::kLine;
    trigger.line = value;
    return trigger;
  }
  if (name == "port") {
    const auto [rest, error] =
        std::from_chars(value.data(), value.data() + value.size(), trigger.port);
    if (error == std::errc() && rest == value.data() + value.size() && trigger.port != 0) {
      trigger.kind = Kind::kPort;
      return trigger;
    }
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("reading --capture-on {}: say exit, fixture, usr1, usr2, after:TIME, "
                          "line:TEXT or port:NUMBER",
                          word));
}

RunCapture::RunCapture(Machine& machine, Process& process, CaptureRequest request)
    : machine_(machine),
      process_(process),
      request_(std::move(request)),
      thread_([this] { run(); }) {}

RunCapture::~RunCapture() {
  static_cast<void>(finish(/*exited=*/false));
}

void RunCapture::pull() {
  const std::lock_guard lock(mutex_);
  pulled_ = true;
  changed_.notify_all();
}

void RunCapture::on_output(std::string_view bytes) {
  if (request_.trigger.kind != CaptureTrigger::Kind::kLine) {
    return;
  }
  for (const char byte : bytes) {
    if (byte != '\n' && line_.size() < kMaxLine) {
      line_ += byte;
      continue;
    }
    if (line_.find(request_.trigger.line) != std::string::npos) {
      pull();
    }
    line_.clear();
  }
}

bool RunCapture::on_fixture_point() {
  if (request_.trigger.kind != CaptureTrigger::Kind::kFixture) {
    return false;
  }
  {
    const std::lock_guard lock(mutex_);
    if (pulled_) {
      return false;  // a later one
    }
  }
  pull();
  return true;
}

void RunCapture::on_signal() {
  pull();
}

void RunCapture::run() {
  using Kind = CaptureTrigger::Kind;
  std::unique_lock lock(mutex_);
  const auto due = [this] { return pulled_ || over_; };
  if (request_.trigger.kind == Kind::kAfter) {
    if (!changed_.wait_for(lock, request_.trigger.after, due)) {
      pulled_ = true;
    }
  } else if (request_.trigger.kind == Kind::kPort) {
    while (!changed_.wait_for(lock, kPortInterval, due)) {
      lock.unlock();
      auto open = port_is_open();
      lock.lock();
      if (!open) {
        if (open.error().code() != ErrorCode::kMachineEnded) {
          outcome_ = fail(open.error());  // it would be so again
          machine_.close();
        }
        return;
      }
      pulled_ = pulled_ || *open;
    }
  } else {
    changed_.wait(lock, due);
  }
  if (!pulled_) {
    return;
  }
  if (request_.quiesce.count() > 0) {
    // The end of the process is what it may be about to do: the capture comes in any case.
    changed_.wait_for(lock, request_.quiesce, [this] { return over_; });
  }
  lock.unlock();
  auto outcome = capture();
  lock.lock();
  outcome_ = std::move(outcome);
}

Result<bool> RunCapture::port_is_open() {
  const auto process = machine_.exec({.argv = {"cat", "/proc/net/tcp", "/proc/net/tcp6"}});
  if (!process) {
    return fail(process.error().with_context(
        fmt::format("looking for a listener on port {} of the machine", request_.trigger.port)));
  }
  return has_listener(output_of(**process), request_.trigger.port);
}

Result<SavedSpore> RunCapture::capture() {
  SPORE_ASSIGN(const auto spore, machine_.capture({.keep_running = request_.keep_running}));
  if (request_.keep_running && request_.trigger.kind == CaptureTrigger::Kind::kFixture) {
    static_cast<void>(process_.release_fixture_point());
  }
  return spore->save(request_.directory, request_.save);
}

std::optional<Result<SavedSpore>> RunCapture::finish(bool exited) {
  {
    const std::lock_guard lock(mutex_);
    pulled_ = pulled_ || (exited && request_.trigger.kind == CaptureTrigger::Kind::kExit);
    over_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) {
    thread_.join();
  }
  return outcome_;
}

}  // namespace spore::cli
