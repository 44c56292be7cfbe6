// For the tests of a child that died before it wrote its report: the failures of a test, found in
// the text that GoogleTest printed for them.
#pragma once

#include <string>
#include <vector>

#include "results.h"

namespace spore::gtest_runner {

// Of a failed test: at least one, the last being the program's death where there was one. Of a
// skipped test: the skip's location and message, if any.
std::vector<Failure> find_failures(const TestRecord& record);

// 1234 ms as GoogleTest writes it in seconds: "1.234".
std::string seconds(std::int64_t ms);

// A moment as GoogleTest writes it: local with milliseconds in XML, UTC in JSON.
std::string xml_timestamp(std::int64_t epoch_ms);
std::string json_timestamp(std::int64_t epoch_ms);

}  // namespace spore::gtest_runner
