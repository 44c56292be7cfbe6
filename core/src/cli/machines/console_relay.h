// A guest's console for one client: what it said so far, and what it says as long as it is
// followed.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string_view>
#include <thread>

#include "cli/machines/frame_stream.h"
#include "spore/session.h"

namespace spore::cli::machines {

// The part of `now` that is new since `before`: two views of the end of one growing text.
std::string_view console_news(std::string_view before, std::string_view now);

class ConsoleRelay {
 public:
  // Closes the stream after its last frame.
  ConsoleRelay(FrameStream& stream, Machine& machine, bool follow);
  ~ConsoleRelay();
  ConsoleRelay(const ConsoleRelay&) = delete;
  ConsoleRelay& operator=(const ConsoleRelay&) = delete;

 private:
  void run(bool follow);
  Result<void> send_text(std::string_view text);

  FrameStream& stream_;
  Machine& machine_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace spore::cli::machines
