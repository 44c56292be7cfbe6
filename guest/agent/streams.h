// OutputStream and InputStream: one direction of one descriptor of a process, with its credit.
// The window is what may be under way unacknowledged (wire/agent_protocol.h, kStreamWindow).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/control.h"
#include "agent/poller.h"
#include "base/unique_fd.h"

namespace spore::agent {

// What a process writes, on its way to the host.
class OutputStream {
 public:
  OutputStream(Poller& poller, ControlStream& control, wire::AgentFrame type, std::uint64_t subject)
      : poller_(poller), control_(control), type_(type), subject_(subject) {}
  ~OutputStream();
  OutputStream(const OutputStream&) = delete;
  OutputStream& operator=(const OutputStream&) = delete;

  // `on_change` is called after each pump that the poller caused. What is written here is sent
  // after what was written to `first` before, as far as the credit of that goes.
  void open(base::UniqueFd fd, std::function<void()> on_change, OutputStream* first = nullptr);
  [[nodiscard]] bool is_open() const noexcept { return fd_.valid(); }
  // The host took bytes. Never raises the credit over a whole window, whatever the host says.
  void acknowledge(std::uint32_t bytes);
  // Reads what is there, as far as the credit goes, and queues it for the host.
  void pump();
  // From now on the stream closes when nothing is there to read: its process is gone.
  void close_when_empty();
  // Decides anew whether to wait for the descriptor.
  void update(bool paused);
  // Gives the descriptor away, for one who drains it.
  base::UniqueFd release();

 private:
  void close();

  Poller& poller_;
  ControlStream& control_;
  wire::AgentFrame type_;
  std::uint64_t subject_;
  base::UniqueFd fd_;
  base::UniqueFd drained_;
  OutputStream* first_ = nullptr;
  std::uint32_t credit_ = wire::kStreamWindow;
  bool close_when_empty_ = false;
};

// What the host sends, on its way into a process.
class InputStream {
 public:
  InputStream(Poller& poller, ControlStream& control, std::uint8_t number, std::uint64_t subject)
      : poller_(poller), control_(control), number_(number), subject_(subject) {}
  ~InputStream();
  InputStream(const InputStream&) = delete;
  InputStream& operator=(const InputStream&) = delete;

  enum class Ending { kClose, kShutdown, kEndOfFileCharacter };
  // `ending`: how this kind of descriptor says that no more is coming.
  void open(base::UniqueFd fd, Ending ending);
  // False when the host sent more than the window allows.
  [[nodiscard]] bool write(std::string_view bytes);
  void end();
  void close();

 private:
  void push();
  void finish();

  Poller& poller_;
  ControlStream& control_;
  std::uint8_t number_;
  std::uint64_t subject_;
  base::UniqueFd fd_;
  Ending ending_ = Ending::kClose;
  std::string waiting_;
  bool ended_ = false;
};

}  // namespace spore::agent
