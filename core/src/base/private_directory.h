// Where this user's sockets, locks and state lie, and directories that nobody else can enter.
//
// Who can write there can take over what runs, so such a directory must belong to the user and be
// closed to everyone else; anything else is refused, not mended.
#pragma once

#include <string>
#include <string_view>

#include "spore/result.h"

namespace spore::base {

// $SPORE_RUNTIME_DIR, else $XDG_RUNTIME_DIR/spore, else /tmp/spore-<uid>; not touched.
std::string runtime_path();

// Makes it (mode 0700) if needed, and checks owner and mode. `attempted` begins the Error's text.
Result<void> make_private_directory(const std::string& path, std::string_view attempted);

}  // namespace spore::base
