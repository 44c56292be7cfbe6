// ConsoleLog: the end of what a guest printed, bounded. The text is the guest's: hostile bytes that
// are shown to people, so control characters other than line ends and tabs are dropped.
#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>

namespace spore::vm {

// Thread-safe.
class ConsoleLog {
 public:
  static constexpr std::size_t kMaxBytes = 256 * 1024;

  void append(std::string_view text);
  [[nodiscard]] std::string text() const;
  // At most the last `lines` lines.
  [[nodiscard]] std::string tail(std::size_t lines) const;

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

}  // namespace spore::vm
