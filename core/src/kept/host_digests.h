// The digests of this host's files that are known, in the cache directory, with the key that proves
// them.
#pragma once

#include "snapshot/known_digests.h"
#include "spore/result.h"

namespace spore::kept {

// Makes the host's key if there is none yet.
Result<snapshot::KnownDigests> open_host_digests();

}  // namespace spore::kept
