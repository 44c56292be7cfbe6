// Users of the guest, read from its /etc/passwd and /etc/group. A static glibc cannot load the name
// service modules, so the two files are the whole truth here. Both are the image's: malformed lines
// are skipped.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "spore/result.h"

namespace spore::agent {

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
  std::string name;  // empty for a number without an entry
  std::string home = "/";
  std::vector<gid_t> groups;  // supplementary, `gid` included
};

// `who` is a name or a decimal uid; a uid without an entry gets the gid of the same number.
Result<User> find_user(std::string_view who, const std::string& etc = "/etc");

}  // namespace spore::agent
