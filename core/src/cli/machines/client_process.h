// A process in a machine that another process owns, at the client's end of its connection.
//
// Hostile bytes: what the monitor sends is checked as if it were.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "cli/machines/frame_stream.h"
#include "spore/session.h"

namespace spore::cli::machines {

// It ends with this object, or disconnect().
// It has no channel, and its fixture points are released by the monitor.
class ClientProcess final : public Process {
 public:
  ClientProcess(std::unique_ptr<FrameStream> stream, std::string machine);
  ~ClientProcess() override;

  [[nodiscard]] std::uint32_t id() const noexcept override { return 1; }  // of its connection
  std::optional<ProcessEvent> next_event(std::optional<Milliseconds> timeout) override;
  Result<void> write_stdin(std::string_view data) override;
  Result<void> close_stdin() override;
  Result<void> write_channel(std::string_view data) override;
  Result<void> close_channel() override;
  Result<void> signal(int number) override;
  Result<void> resize(std::uint16_t rows, std::uint16_t columns) override;
  Result<void> release_fixture_point() override { return {}; }

  // Ends the process: it is Lost to whoever waits for it.
  void disconnect() { stream_->close(); }

 private:
  void read_all();
  Result<bool> handle(wire::Frame frame);  // false: that was its last
  void add_output(OutputStream stream, std::string data);
  void add_last(ProcessEvent event);

  const std::unique_ptr<FrameStream> stream_;
  const std::string machine_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<ProcessEvent> events_;
  std::size_t waiting_bytes_ = 0;  // of output in events_
  std::size_t credit_ = kInputWindow;
  bool input_closed_ = false;
  bool over_ = false;  // the last event is in events_
  bool unwanted_ = false;
  std::thread reader_;
};

}  // namespace spore::cli::machines
