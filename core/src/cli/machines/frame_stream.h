// Frames of the monitor's protocol on one socket, as both of its ends need them.
//
// One thread receives; any thread sends or closes. Hostile bytes: all that is received.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "cli/machines/monitor_protocol.h"
#include "session/transport.h"
#include "spore/result.h"
#include "wire/frame.h"

namespace spore::cli::machines {

class FrameStream {
 public:
  static Result<std::unique_ptr<FrameStream>> create(base::UniqueFd socket);

  // The next frame, waiting for it; nullopt when the other end is gone or the stream was closed.
  Result<std::optional<wire::Frame>> receive();
  Result<void> send(MonitorFrame type, std::string_view payload);
  Result<void> send_error(const Error& error);
  // For good, at both ends; what was sent can still be received there.
  void close();

 private:
  FrameStream(std::unique_ptr<session::Transport> transport, int socket)
      : transport_(std::move(transport)), socket_(socket) {}

  const std::unique_ptr<session::Transport> transport_;
  const int socket_;  // the transport's
  wire::FrameDecoder decoder_;
  std::mutex send_mutex_;
};

[[nodiscard]] inline MonitorFrame type_of(const wire::Frame& frame) {
  return static_cast<MonitorFrame>(frame.type);
}

// This build's greeting.
std::string hello_payload();
// kUnavailable, with what to do about it, when `frame` is not the greeting of the same build.
// `who` names the other end.
Result<void> check_hello(const wire::Frame& frame, std::string_view who);

// The Error in a kError frame.
Error error_of(const wire::Frame& frame);
// kCorrupt: "<attempted>: the other end sent a frame that makes no sense here".
Error senseless(std::string_view attempted, const wire::Frame& frame);

}  // namespace spore::cli::machines
