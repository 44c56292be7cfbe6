#include "failure_keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

namespace spore::gtest_runner {
namespace {

constexpr const char* kBase = "fixture-point";
constexpr std::size_t kLongestName = 150;  // bytes; a file system takes 255
constexpr int kMostRuns = 100'000;

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.';
}

}  // namespace

std::string file_name_of(const std::string& test) {
  std::string name = test.substr(0, kLongestName);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !is_plain(c); }, '-');
  if (name.empty() || name.front() == '.' || name == kBase) {
    name.insert(0, "test-");
  }
  return name;
}

Result<std::string> FailureKeeper::keep(Machine& machine, Spore& base, const std::string& test) {
  SPORE_ASSIGN(const auto captured, machine.capture({.keep_running = true}));
  const std::lock_guard lock(mutex_);
  if (directory_.empty()) {
    SPORE_TRY(make_directory(base));
  }
  std::string name = file_name_of(test);
  for (int number = 2; !taken_.insert(name).second; ++number) {
    name = fmt::format("{}-{}", file_name_of(test), number);
  }
  const std::string path = fmt::format("{}/{}", directory_, name);
  SPORE_TRY(captured->save(path));
  return path;
}

Result<void> FailureKeeper::make_directory(Spore& base) {
  std::error_code error;
  std::filesystem::create_directories(parent_, error);
  for (int number = 1; !error && number < kMostRuns; ++number) {
    const std::string path = fmt::format("{}/{}", parent_, number);
    if (std::filesystem::create_directory(path, error)) {
      // Whole: a machine that is kept for the next run comes and goes, and nothing may need it.
      SPORE_TRY(base.save(fmt::format("{}/{}", path, kBase), {.annotations = {}, .whole = true}));
      directory_ = path;
      return {};
    }
  }
  return fail(Error::from_errno(error ? error.value() : EEXIST,
                                fmt::format("making a directory for this run in {}", parent_)));
}

}  // namespace spore::gtest_runner
