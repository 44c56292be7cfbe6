// Directory trees of this host as tar streams, both ways.
//
// Hostile bytes: all of a stream that is unpacked comes from a guest. Nothing outside the named
// target is written: no absolute path, no "..", nothing through a symbolic link; no devices, no
// set-user-id bits, no owners.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "spore/result.h"

namespace spore::cli::machines {

struct CopyCount {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  std::uint64_t skipped = 0;  // devices, pipes and sockets
};

using TakeBytes = std::function<Result<void>(std::string_view)>;
// The next bytes; empty at the end. Valid until the next call.
using GiveBytes = std::function<Result<std::string_view>()>;

// Packs `source` and all below it as `name`, or (when that is empty) only what is below it. The
// source itself is followed if it is a symbolic link and `follow`; none below it is.
Result<CopyCount> pack_tar(const std::string& source, const std::string& name, bool follow,
                           const TakeBytes& take);

// Unpacks what the stream calls `member` ("." for all of it) as `name` in `directory`, or (when
// that is empty) what is below it straight into `directory`.
Result<CopyCount> unpack_tar(const GiveBytes& give, const std::string& member,
                             const std::string& directory, const std::string& name);

// The path in the target directory of an entry of a stream (exposed for tests); empty for the
// directory itself. kCorrupt for one that is not `member` or below it, or that is not to be
// trusted.
Result<std::string> target_path(std::string_view entry, std::string_view member,
                                std::string_view name);

}  // namespace spore::cli::machines
