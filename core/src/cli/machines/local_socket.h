// Unix sockets in a directory, however long its path is, between processes of one user.
#pragma once

#include <string>

#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::cli::machines {

// Listens at <directory>/<name>, which must not be there yet; non-blocking.
Result<base::UniqueFd> listen_at(const std::string& directory, const std::string& name);

// kNotFound when nobody listens there.
Result<base::UniqueFd> connect_to(const std::string& directory, const std::string& name);

// kPermissionDenied unless the process at the other end runs as this user.
Result<void> check_same_user(int socket);

}  // namespace spore::cli::machines
