// What AddressSanitizer and its like print on stderr when they find something.
#pragma once

#include <map>
#include <string>

namespace spore::gtest_runner {

// Takes the reports out of what a program printed before it ended; empty: there is none.
std::string take_sanitizer_report(std::string& errors);

// Has ThreadSanitizer and UndefinedBehaviorSanitizer end the program at a report, as the others do,
// so that it belongs to one test. What `env` says of that holds.
void end_at_sanitizer_reports(std::map<std::string, std::string>& env);

}  // namespace spore::gtest_runner
