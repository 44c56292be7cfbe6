// Running another program of the host.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "spore/result.h"

namespace spore::image {

// A child process; killed and reaped when it goes out of scope before wait().
class Subprocess {
 public:
  // Starts argv[0] (looked up in PATH). `descriptors`: pairs of ours and the child's; everything
  // else is closed in it.
  static Result<Subprocess> start(const std::vector<std::string>& argv,
                                  const std::vector<std::pair<int, int>>& descriptors);

  Subprocess(Subprocess&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  Subprocess& operator=(Subprocess&&) = delete;
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;
  ~Subprocess();

  struct End {
    int code = 0;
    int signal = 0;
  };
  Result<End> wait();

 private:
  explicit Subprocess(pid_t pid) noexcept : pid_(pid) {}
  pid_t pid_;
};

struct CommandOutput {
  Subprocess::End end;
  std::string standard_output;
  std::string standard_error;
};

// Runs a program to its end, with nothing on its standard input.
Result<CommandOutput> run_command(const std::vector<std::string>& argv,
                                  std::chrono::milliseconds timeout);

}  // namespace spore::image
