// One client of a monitor: greeting, request, and what follows from it, in a thread of its own.
//
// Hostile bytes: all that the client sends.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "cli/machines/console_relay.h"
#include "cli/machines/exec_relay.h"
#include "cli/machines/frame_stream.h"
#include "cli/machines/monitor_protocol.h"
#include "spore/session.h"

namespace spore::cli::machines {

class Connection {
 public:
  // Captures the machine and saves the spore.
  using Capture = std::function<Result<SavedSpore>(const CaptureMessage& message)>;
  static Result<std::unique_ptr<Connection>> create(Machine& machine, base::UniqueFd socket,
                                                    Capture capture);
  // Ends it, and the process that was started for the client.
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  [[nodiscard]] bool over() const noexcept { return over_; }
  // Ends it unless the client has said what it wants by `deadline`.
  void expect_request(std::chrono::steady_clock::time_point deadline);

 private:
  Connection(Machine& machine, std::unique_ptr<FrameStream> stream, Capture capture);
  void run();
  Result<void> serve();
  Result<void> handle(const wire::Frame& frame);
  Result<void> start(const wire::Frame& request);
  Result<void> start_process(const wire::Frame& request);

  Machine& machine_;
  const std::unique_ptr<FrameStream> stream_;
  const Capture capture_;
  bool greeted_ = false;
  std::atomic<bool> requested_ = false;
  std::atomic<bool> over_ = false;
  std::unique_ptr<ExecRelay> exec_;
  std::unique_ptr<ConsoleRelay> console_;
  std::thread thread_;
};

}  // namespace spore::cli::machines
