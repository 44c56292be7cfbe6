// One process of the machine and the client that it was started for: output goes to the client as
// frames, the client's frames to the process. The process ends with the relay at the latest.
//
// Hostile bytes: the client's frames.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "cli/machines/frame_stream.h"
#include "spore/session.h"

namespace spore::cli::machines {

class ExecRelay {
 public:
  // Closes the stream when the process is over.
  ExecRelay(FrameStream& stream, std::shared_ptr<Process> process);
  ~ExecRelay();
  ExecRelay(const ExecRelay&) = delete;
  ExecRelay& operator=(const ExecRelay&) = delete;

  Result<void> handle(const wire::Frame& frame);

 private:
  void relay_output();
  void relay_input();
  void send_output(const Output& output);
  Result<void> take_input(const wire::Frame& frame);

  FrameStream& stream_;
  const std::shared_ptr<Process> process_;
  std::atomic<bool> over_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string waiting_;         // input that the process was not given yet
  std::size_t under_way_ = 0;   // input that the client was not given back the window for
  bool input_ended_ = false;    // by the client
  bool input_stopped_ = false;  // by the end of this relay
  std::thread output_;
  std::thread input_;
};

}  // namespace spore::cli::machines
