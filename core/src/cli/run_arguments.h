// The words of command lines that mean something more than themselves.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "spore/image.h"
#include "spore/result.h"
#include "spore/session.h"

namespace spore::cli {

// "512M", "2G", "2GiB": bytes.
Result<std::uint64_t> parse_memory(std::string_view word);
// "30s", "500ms", "5m", "1h", or seconds.
Result<Milliseconds> parse_duration(std::string_view word, std::string_view option);
// "NAME=VALUE", or "NAME" to pass this program's own value on.
Result<std::map<std::string, std::string>> parse_environment(const std::vector<std::string>& words);
// A command for a machine, as the verbs that run one are told it.
struct CommandWords {
  std::vector<std::string> argv;
  std::vector<std::string> env;
  std::string workdir = "/";
  std::string user;
  bool terminal = false;
};
// With this program's terminal's size and TERM, where the command gets a terminal.
Result<ExecRequest> exec_request(const CommandWords& words);
// "DIR" or "DIR:GUESTPATH"; the directory must be there, and the guest's path be absolute.
Result<ImageMount> parse_mount(std::string_view word);

}  // namespace spore::cli
