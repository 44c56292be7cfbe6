// `spore nest exec`: one command on the nest's own system, with this program's streams.
#pragma once

#include <string>
#include <vector>

namespace spore::cli {

struct NestExecOptions {
  std::vector<std::string> argv;
  std::vector<std::string> env;  // NAME=VALUE, or NAME
  std::string workdir;           // empty: this program's
};

// The command's exit status, 128 + n for a signal, 125 when it could not be run.
int run_nest_exec(const NestExecOptions& options);

}  // namespace spore::cli
