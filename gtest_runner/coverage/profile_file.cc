#include "profile_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace spore::gtest_runner {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBlock = std::size_t{64} * 1024;
// Magic, version and stamp of a .gcda file: 32-bit words.
constexpr std::size_t kHeader = 12;
constexpr std::size_t kVersion = 4;

bool is_in_path(const std::string& program) {
  const char* variable = std::getenv("PATH");
  std::istringstream directories(variable == nullptr ? "/usr/bin:/bin" : variable);
  for (std::string directory; std::getline(directories, directory, ':');) {
    if (::access(fmt::format("{}/{}", directory, program).c_str(), X_OK) == 0) {
      return true;
    }
  }
  return false;
}

}  // namespace

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) {
    return fail(Error::from_errno(errno, fmt::format("reading {}", path)));
  }
  return text;
}

Result<void> write_file(const std::string& path, std::string_view text) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) {
    return fail(Error::from_errno(errno, fmt::format("writing {}", path)));
  }
  return {};
}

std::string gcov_tool_for(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<char, kHeader> header{};
  file.read(header.data(), header.size());
  // "*22B": GCC B2.2, where A is 0 and B is 10. Before GCC 10 another rule held.
  const char tens = header[kVersion + 3];
  const char ones = header[kVersion + 2];
  if (file && tens >= 'B' && tens <= 'Z' && ones >= '0' && ones <= '9') {
    const auto name = fmt::format("gcov-tool-{}", (tens - 'A') * 10 + (ones - '0'));
    if (is_in_path(name)) {
      return name;
    }
  }
  return "gcov-tool";
}

bool same_gcov_program(std::string_view earlier, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<char, kHeader> header{};
  file.read(header.data(), header.size());
  return file && earlier.substr(0, kHeader) == std::string_view(header.data(), header.size());
}

Result<LockedFile> LockedFile::open(const std::string& path) {
  const std::string attempted = fmt::format("writing the profile {}", path);
  std::error_code error;
  if (const auto parent = fs::path(path).parent_path(); !parent.empty()) {
    fs::create_directories(parent, error);
  }
  LockedFile file(path, ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (file.fd_ < 0) {
    return fail(Error::from_errno(error ? error.value() : errno, attempted));
  }
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  while (::fcntl(file.fd_, F_SETLKW, &lock) != 0) {
    if (errno != EINTR) {
      return fail(Error::from_errno(errno, attempted));
    }
  }
  std::array<char, kBlock> block{};
  for (ssize_t got = 1; got != 0;) {
    got = ::read(file.fd_, block.data(), block.size());
    if (got > 0) {
      file.text_.append(block.data(), static_cast<std::size_t>(got));
    } else if (got < 0 && errno != EINTR) {
      return fail(Error::from_errno(errno, attempted));
    }
  }
  return file;
}

LockedFile::~LockedFile() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

Result<void> LockedFile::replace(std::string_view text) {
  bool is_done = ::ftruncate(fd_, 0) == 0;
  for (off_t at = 0; is_done && !text.empty();) {
    const ssize_t written = ::pwrite(fd_, text.data(), text.size(), at);
    if (written > 0) {
      at += written;
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (written < 0 && errno != EINTR) {
      is_done = false;
    }
  }
  if (!is_done) {
    return fail(Error::from_errno(errno, fmt::format("writing the profile {}", path_)));
  }
  return {};
}

}  // namespace spore::gtest_runner
