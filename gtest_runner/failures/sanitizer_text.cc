#include "sanitizer_text.h"

#include <algorithm>
#include <string_view>

namespace spore::gtest_runner {
namespace {

constexpr std::size_t kMostReported = std::size_t{256} * 1024;  // bytes

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// "==7==ERROR: AddressSanitizer: heap-use-after-free on ...", "AddressSanitizer:DEADLYSIGNAL",
// "WARNING: ThreadSanitizer: data race (pid=7)", "a.cc:3:5: runtime error: signed ...".
bool begins_report(std::string_view line) {
  const bool says = has(line, "ERROR: ") || has(line, "WARNING: ");
  return (says && has(line, "Sanitizer: ")) || has(line, "Sanitizer:DEADLYSIGNAL") ||
         has(line, ": runtime error: ");
}

bool is_rule(std::string_view line) {
  return line.size() > 2 && std::all_of(line.begin(), line.end(), [](char c) { return c == '='; });
}

}  // namespace

std::string take_sanitizer_report(std::string& errors) {
  std::size_t rule = std::string::npos;  // where the rule above a report begins
  for (std::size_t at = 0; at < errors.size();) {
    const std::size_t end = std::min(errors.find('\n', at), errors.size());
    const std::string_view line = std::string_view(errors).substr(at, end - at);
    if (begins_report(line)) {
      const std::size_t begin = std::min(rule, at);
      std::string report = errors.substr(begin, kMostReported);
      errors.erase(begin, report.size());
      while (report.ends_with('\n')) {
        report.pop_back();
      }
      return report;
    }
    rule = is_rule(line) ? at : std::string::npos;
    at = end + 1;
  }
  return {};
}

void end_at_sanitizer_reports(std::map<std::string, std::string>& env) {
  for (const char* name : {"TSAN_OPTIONS", "UBSAN_OPTIONS"}) {
    std::string& options = env[name];  // the last word on an option holds
    options = options.empty() ? "halt_on_error=1" : "halt_on_error=1:" + options;
  }
}

}  // namespace spore::gtest_runner
