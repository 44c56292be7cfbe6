#include "vm/console_log.h"

namespace spore::vm {

void ConsoleLog::append(std::string_view text) {
  const std::lock_guard lock(mutex_);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n' || c == '\t' || (byte >= 0x20 && byte != 0x7f)) {
      text_.push_back(c);
    }
  }
  if (text_.size() > 2 * kMaxBytes) {
    text_.erase(0, text_.size() - kMaxBytes);
  }
}

std::string ConsoleLog::text() const {
  const std::lock_guard lock(mutex_);
  return text_.size() > kMaxBytes ? text_.substr(text_.size() - kMaxBytes) : text_;
}

std::string ConsoleLog::tail(std::size_t lines) const {
  const std::lock_guard lock(mutex_);
  std::size_t start = text_.size();
  if (start > 0 && text_.back() == '\n') {
    --start;
  }
  for (; lines > 0 && start != std::string::npos && start > 0; --lines) {
    start = text_.rfind('\n', start - 1);
  }
  return text_.substr(start == std::string::npos ? 0 : start == 0 ? 0 : start + 1);
}

}  // namespace spore::vm
