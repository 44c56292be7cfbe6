// Profile files of this host: read, compared, and replaced while other programs may add to them.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "spore/result.h"

namespace spore::gtest_runner {

Result<std::string> read_file(const std::string& path);
// With the directories above it.
Result<void> write_file(const std::string& path, std::string_view text);

// The gcov-tool of the GCC that wrote the .gcda file `path`: "gcov-tool-12" if there is one, else
// "gcov-tool".
std::string gcov_tool_for(const std::string& path);
// Whether two .gcda files are of one compilation: else the counts of one mean nothing for the
// other. `earlier`: a file's bytes.
bool same_gcov_program(std::string_view earlier, const std::string& path);

// A file under the lock that libgcov takes to add to it. It is made if it is not there.
class LockedFile {
 public:
  static Result<LockedFile> open(const std::string& path);
  LockedFile(LockedFile&& other) noexcept
      : path_(std::move(other.path_)),
        text_(std::move(other.text_)),
        fd_(std::exchange(other.fd_, -1)) {}
  LockedFile& operator=(LockedFile&&) = delete;
  ~LockedFile();

  // What was in it when it was locked.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  Result<void> replace(std::string_view text);

 private:
  LockedFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::string path_;
  std::string text_;
  int fd_;
};

}  // namespace spore::gtest_runner
