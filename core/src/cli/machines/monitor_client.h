// A client of a machine's monitor.
//
// Hostile bytes: what the monitor sends is checked as if it were.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "cli/machines/client_process.h"
#include "cli/machines/frame_stream.h"
#include "cli/machines/monitor_protocol.h"
#include "cli/machines/registry.h"
#include "spore/session.h"

namespace spore::cli::machines {

// One connection; each of its requests uses it up.
class MonitorClient {
 public:
  // To the running machine `name`. kMachineEnded when it is over.
  static Result<MonitorClient> connect(const Registry& registry, const std::string& name);
  // Over a socket at whose other end the monitor of `name` is.
  static Result<MonitorClient> greet(base::UniqueFd socket, std::string name);

  Result<std::shared_ptr<ClientProcess>> exec(const ExecRequest& request);
  // Waits until the spore is on disk.
  Result<SavedSpore> capture(const CaptureMessage& message);
  // Gives the console to `take` part by part, until that answers false.
  Result<void> logs(bool follow, const std::function<bool(std::string_view)>& take);

 private:
  MonitorClient(std::unique_ptr<FrameStream> stream, std::string name)
      : stream_(std::move(stream)), name_(std::move(name)) {}
  // Sends a request and gives what is answered first.
  Result<wire::Frame> ask(std::string_view attempted, MonitorFrame type, std::string_view payload);
  // The next frame; an Error if it is one, or the end.
  Result<wire::Frame> receive(std::string_view attempted);

  std::unique_ptr<FrameStream> stream_;
  std::string name_;
};

// kMachineEnded, and what to do: "<attempted>: <how machine `entry` ended>; ...".
Error ended_error(std::string_view attempted, const Entry& entry);

}  // namespace spore::cli::machines
