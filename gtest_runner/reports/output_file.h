// --gtest_output on the host: which format, which file, by GoogleTest's own rules.
#pragma once

#include <optional>
#include <string>

#include "spore/result.h"

namespace spore::gtest_runner {

struct OutputFile {
  std::string format;  // "xml" or "json"
  std::string path;    // absolute
};

// `flag` as given ("xml", "xml:path", "json:directory/"); nullopt without a format that GoogleTest
// knows. A directory gets <binary>.<format>, or <binary>_1.<format> and so on if that exists.
std::optional<OutputFile> resolve_output(const std::string& flag, const std::string& binary);

// Makes the directory too.
Result<void> write_output(const OutputFile& file, const std::string& text);

}  // namespace spore::gtest_runner
