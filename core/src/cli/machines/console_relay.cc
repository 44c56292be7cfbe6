#include "cli/machines/console_relay.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace spore::cli::machines {
namespace {

constexpr std::chrono::milliseconds kPollInterval{300};

}  // namespace

std::string_view console_news(std::string_view before, std::string_view now) {
  if (now.starts_with(before)) {
    return now.substr(before.size());
  }
  // The beginning is forgotten by now: the longest end of `before` that `now` begins with is old.
  // matched[i]: how much of the beginning of `now` is also at the end of now[0..i].
  std::vector<std::size_t> matched(now.size(), 0);
  const auto extend = [&](std::size_t length, char next) {
    while (length > 0 && (length == now.size() || now[length] != next)) {
      length = matched[length - 1];
    }
    return length < now.size() && now[length] == next ? length + 1 : 0;
  };
  for (std::size_t i = 1; i < now.size(); ++i) {
    matched[i] = extend(matched[i - 1], now[i]);
  }
  std::size_t old = 0;
  for (const char byte : before) {
    old = extend(old, byte);
  }
  return now.substr(old);
}

ConsoleRelay::ConsoleRelay(FrameStream& stream, Machine& machine, bool follow)
    : stream_(stream), machine_(machine), thread_([this, follow] { run(follow); }) {}

ConsoleRelay::~ConsoleRelay() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  stream_.close();
  thread_.join();
}

Result<void> ConsoleRelay::send_text(std::string_view text) {
  while (!text.empty()) {
    SPORE_TRY(stream_.send(MonitorFrame::kConsole, text.substr(0, kMaxPart)));
    text.remove_prefix(std::min(kMaxPart, text.size()));
  }
  return {};
}

void ConsoleRelay::run(bool follow) {
  std::string before;
  for (;;) {
    // Asked first: nothing comes after what is read then.
    const bool last = !follow || machine_.ended().has_value();
    std::string now = machine_.console_tail();
    const std::string_view news = console_news(before, now);
    if (!send_text(news)) {
      break;  // the client is gone
    }
    if (!now.empty()) {
      before = std::move(now);
    }
    if (last) {
      static_cast<void>(stream_.send(MonitorFrame::kDone, {}));
      break;
    }
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, kPollInterval, [this] { return stopped_; })) {
      return;
    }
  }
  stream_.close();
}

}  // namespace spore::cli::machines
