#include "own_report.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace spore::gtest_runner {
namespace {

std::string directory_of(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

// A new file beside `path`; an errno when there can be none.
int make_beside(const std::string& path, std::string& name) {
  name = directory_of(path) + "/.spore-XXXXXX";
  const int file = ::mkstemp(name.data());
  if (file < 0) {
    return errno;
  }
  const mode_t mask = ::umask(022);
  ::umask(mask);
  ::fchmod(file, 0666 & ~mask);
  ::close(file);
  return 0;
}

}  // namespace

std::string outcome_of(const TestStory& test) {
  switch (test.outcome) {
    case Outcome::kPassed:
      return "passed";
    case Outcome::kSkipped:
      return "skipped";
    case Outcome::kNotRun:
      return "not run";
    case Outcome::kFailed:
      break;
  }
  return test.crashed ? "crashed" : "failed";
}

std::string_view name_of(Dist dist) {
  return dist == Dist::kLoad ? "load" : dist == Dist::kShard ? "shard" : "each";
}

std::string status_of(const OwnReport& report) {
  if (!report.error.empty()) {
    return "error";
  }
  return report.late ? "timed out" : report.exit_status == 0 ? "passed" : "failed";
}

Result<void> check_new_file(std::string_view option, const std::string& path) {
  if (path.empty()) {
    return {};
  }
  std::error_code error;
  if (std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} {}: that is no file; give the name of one", option, path));
  }
  // Permissions alone do not tell: the file system may be read-only, or full.
  std::string name;
  if (const int reason = make_beside(path, name); reason != 0) {
    return fail(Error::from_errno(reason, fmt::format("{} {}: no file can be written in {}", option,
                                                      path, directory_of(path))));
  }
  ::unlink(name.c_str());
  ::unlink(path.c_str());  // what an earlier run said is not to be taken for this one's
  return {};
}

Result<void> write_whole(std::string_view option, const std::string& path,
                         const std::string& text) {
  const std::string attempted = fmt::format("writing {} ({})", path, option);
  std::string name;
  if (const int reason = make_beside(path, name); reason != 0) {
    return fail(Error::from_errno(reason, attempted));
  }
  std::ofstream stream(name, std::ios::binary | std::ios::trunc);
  stream << text;
  stream.close();
  if (!stream || ::rename(name.c_str(), path.c_str()) != 0) {
    const int reason = errno;
    ::unlink(name.c_str());
    return fail(Error::from_errno(reason, attempted));
  }
  return {};
}

}  // namespace spore::gtest_runner
