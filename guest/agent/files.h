// Small file helpers: whole-file reads and writes with errors that name the path.
#pragma once

#include <sys/types.h>
#include <string>
#include <string_view>

#include "spore/result.h"

namespace spore::agent {

Result<std::string> read_file(const std::string& path);
// Writes over what is there, without creating the file (sysfs, cgroups, sysctl).
Result<void> write_existing(const std::string& path, std::string_view text);
// Replaces the file by a rename, so that a reader sees the old text or the new one.
Result<void> write_atomically(const std::string& path, std::string_view text, mode_t mode);
Result<void> make_directories(const std::string& path, mode_t mode = 0755);
// An errno text with the action and the path in front.
Error path_error(std::string_view action, std::string_view path, int error_number);

}  // namespace spore::agent
