// ControlStream: the agent's end of the control stream. Frames to the host are queued and leave as
// the stream takes them; frames from the host are handed on whole. The host's bytes are checked by
// the frame decoder; a broken stream is closed for good.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "agent/poller.h"
#include "wire/agent_protocol.h"
#include "wire/frame.h"

namespace spore::agent {

class ControlStream {
 public:
  // Above this much queued output, producers wait and nothing more is read from the host.
  static constexpr std::size_t kQueueLimit = 4 * 1024 * 1024;

  using FrameHandler = std::function<void(wire::Frame frame)>;
  using DrainHandler = std::function<void()>;

  // Borrows `fd` (a stream) and `poller` for its lifetime, and makes `fd` non-blocking.
  ControlStream(int fd, Poller& poller);
  ~ControlStream();
  ControlStream(const ControlStream&) = delete;
  ControlStream& operator=(const ControlStream&) = delete;

  // `on_drain` is called when the queue falls under its limit again.
  void start(FrameHandler on_frame, DrainHandler on_drain);

  void send(wire::AgentFrame type, std::uint64_t subject, std::string_view payload = {});
  template <typename Message>
  void send_message(wire::AgentFrame type, std::uint64_t subject, const Message& message) {
    send(type, subject, wire::to_cbor(message));
  }
  // Tries to write what is queued, without waiting.
  void flush();
  // Writes all that is queued, waiting for the host.
  void flush_fully();
  // Breaks the stream: the host did what no host does.
  void close(std::string_view why);

  [[nodiscard]] bool closed() const noexcept { return closed_; }
  [[nodiscard]] bool full() const noexcept { return queued() > kQueueLimit; }

 private:
  [[nodiscard]] std::size_t queued() const noexcept { return queue_.size() - sent_; }
  void on_ready(std::uint32_t events);
  void read_frames();
  void update_events();

  int fd_;
  Poller& poller_;
  FrameHandler on_frame_;
  DrainHandler on_drain_;
  wire::FrameDecoder decoder_;
  std::string read_buffer_;
  std::string queue_;
  std::size_t sent_ = 0;
  bool closed_ = false;
};

}  // namespace spore::agent
