#include "agent/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>

namespace spore::agent {
namespace {

int kernel_log = -1;

// A kmsg record longer than about a kilobyte is refused as a whole.
constexpr std::size_t kLineLimit = 900;

void write_line(std::string_view prefix, std::string_view line) {
  std::string text = kernel_log >= 0 ? std::string(prefix) : std::string();
  text.append("spore-agent: ").append(line.substr(0, kLineLimit)).append("\n");
  const int fd = kernel_log >= 0 ? kernel_log : STDERR_FILENO;
  [[maybe_unused]] const auto written = ::write(fd, text.data(), text.size());
}

}  // namespace

void log_to_kernel() {
  kernel_log = ::open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
}

void log_info(std::string_view line) {
  write_line("<6>", line);
}

void log_error(std::string_view line) {
  write_line("<3>", line);
}

}  // namespace spore::agent
