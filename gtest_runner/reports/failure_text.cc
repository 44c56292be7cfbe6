#include "failure_text.h"

#include <fmt/format.h>

#include <ctime>
#include <sstream>

namespace spore::gtest_runner {
namespace {

// "file.cc:12: Failure" and "unknown file: Failure" begin a failure; "file.cc:12: Skipped" a skip.
bool begins(std::string_view line, std::string_view word, std::string& location) {
  const std::string ending = ": " + std::string(word);
  if (!line.ends_with(ending)) {
    return false;
  }
  const std::string_view head = line.substr(0, line.size() - ending.size());
  const auto colon = head.rfind(':');
  const bool numbered =
      colon != std::string_view::npos && colon + 1 < head.size() &&
      head.substr(colon + 1).find_first_not_of("0123456789") == std::string_view::npos;
  if (!numbered && head != "unknown file") {
    return false;
  }
  location = head;
  return true;
}

}  // namespace

std::vector<Failure> find_failures(const TestRecord& record) {
  std::vector<Failure> failures;
  if (record.outcome == Outcome::kPassed || record.outcome == Outcome::kNotRun) {
    return failures;
  }
  if (!record.failures.empty()) {
    failures = record.failures;
    if (!record.death.empty()) {
      failures.push_back({.location = "unknown file", .message = record.death});
    }
    return failures;
  }
  const std::string_view word = record.outcome == Outcome::kSkipped ? "Skipped" : "Failure";
  std::istringstream lines(record.output);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    std::string location;
    if (begins(line, word, location)) {
      failures.push_back({.location = location, .message = ""});
      inside = true;
    } else if (inside && line.empty()) {
      inside = false;  // GoogleTest ends a message with an empty line
    } else if (inside) {
      std::string& message = failures.back().message;
      message += (message.empty() ? "" : "\n") + line;
    }
  }
  if (!record.death.empty()) {
    failures.push_back({.location = "unknown file", .message = record.death});
  }
  if (failures.empty() && record.outcome == Outcome::kFailed) {
    failures.push_back({.location = "unknown file", .message = record.output});
  }
  return failures;
}

std::string seconds(std::int64_t ms) {
  std::ostringstream text;
  text << static_cast<double>(ms) * 1e-3;
  return text.str();
}

std::string xml_timestamp(std::int64_t epoch_ms) {
  const auto moment = static_cast<std::time_t>(epoch_ms / 1000);
  std::tm parts{};
  localtime_r(&moment, &parts);
  char text[32] = "";
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:03}", text, epoch_ms % 1000);
}

std::string json_timestamp(std::int64_t epoch_ms) {
  const auto moment = static_cast<std::time_t>(epoch_ms / 1000);
  std::tm parts{};
  gmtime_r(&moment, &parts);
  char text[32] = "";
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace spore::gtest_runner
