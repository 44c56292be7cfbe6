// Files and directories into a machine and out of it, by the guest's tar.
//
// Hostile bytes: what the guest's programs say (see tar_stream.h).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cli/machines/tar_stream.h"
#include "spore/session.h"

namespace spore::cli::machines {

using StartProcess = std::function<Result<std::shared_ptr<Process>>(const ExecRequest&)>;

// Paths are as the user said them: `target` follows the rules of copy_paths.h.
Result<CopyCount> copy_to_guest(const StartProcess& start, const std::string& source,
                                const std::string& target);
Result<CopyCount> copy_from_guest(const StartProcess& start, const std::string& source,
                                  const std::string& target);

}  // namespace spore::cli::machines
