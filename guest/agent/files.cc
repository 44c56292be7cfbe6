#include "agent/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "base/unique_fd.h"

namespace spore::agent {
namespace {

Result<void> write_all(int fd, const std::string& path, std::string_view text) {
  // One write() where the kernel takes it: control files treat each call as a whole.
  while (!text.empty()) {
    const auto written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno != EINTR) {
      return fail(path_error("writing", path, errno));
    }
    if (written > 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  return {};
}

}  // namespace

Error path_error(std::string_view action, std::string_view path, int error_number) {
  return Error::from_errno(error_number, std::string(action) + " " + std::string(path));
}

Result<std::string> read_file(const std::string& path) {
  const base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) {
    return fail(path_error("opening", path, errno));
  }
  std::string text;
  std::array<char, 4096> buffer;
  while (true) {
    const auto got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got == 0) {
      return text;
    }
    if (got < 0 && errno != EINTR) {
      return fail(path_error("reading", path, errno));
    }
    if (got > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(got));
    }
  }
}

Result<void> write_existing(const std::string& path, std::string_view text) {
  const base::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) {
    return fail(path_error("opening", path, errno));
  }
  return write_all(fd.get(), path, text);
}

Result<void> write_atomically(const std::string& path, std::string_view text, mode_t mode) {
  const std::string next = path + ".next";
  const base::UniqueFd fd(
      ::open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd.valid()) {
    return fail(path_error("creating", next, errno));
  }
  SPORE_TRY(write_all(fd.get(), next, text));
  if (::rename(next.c_str(), path.c_str()) != 0) {
    return fail(path_error("replacing", path, errno));
  }
  return {};
}

Result<void> make_directories(const std::string& path, mode_t mode) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) {
      return fail(path_error("making the directory", part, errno));
    }
    if (slash == std::string::npos) {
      return {};
    }
  }
}

}  // namespace spore::agent
