#include "output_reader.h"

#include <utility>

namespace spore::gtest_runner {

std::vector<TestRecord> OutputReader::feed(std::string_view bytes) {
  std::vector<TestRecord> ended;
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    if (end == std::string_view::npos) {
      partial_ += bytes;
      break;
    }
    partial_ += bytes.substr(0, end + 1);
    bytes.remove_prefix(end + 1);
    line(std::exchange(partial_, {}), ended);
  }
  return ended;
}

std::optional<TestRecord> OutputReader::end_line() {
  std::vector<TestRecord> ended;
  if (!partial_.empty()) {
    line(std::exchange(partial_, {}), ended);
  }
  return ended.empty() ? std::nullopt : std::optional(std::move(ended.front()));
}

}  // namespace spore::gtest_runner
