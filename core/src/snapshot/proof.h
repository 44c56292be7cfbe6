// Proofs: that a file of this host is one whose bytes were known to be right, without reading it
// again. Device, inode, size and modification time, under a key that only this user on this host
// has. A proof speaks of changes by accident and by other users; whoever can write the file and
// read the key can do as they like.
#pragma once

#include <string>
#include <string_view>

#include "spore/result.h"

namespace spore::snapshot {

inline constexpr std::size_t kProofKeyBytes = 32;
inline constexpr std::size_t kMaxProofBytes = 4096;

// The text of the proof that the open file `fd` is what `digest` names.
Result<std::string> make_proof(std::string_view key, int fd, std::string_view digest);

// Whether `proof` is as it was written, and of `digest`. For that nobody needs a key: it may be of
// another host, or another file.
bool is_whole_proof(std::string_view proof, std::string_view digest);

// Whether `proof` is that of this file, as it is now.
bool is_proof(std::string_view proof, std::string_view key, int fd, std::string_view digest);

}  // namespace spore::snapshot
